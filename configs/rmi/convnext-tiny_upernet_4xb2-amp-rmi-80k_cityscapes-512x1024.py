# MMSegmentation has no ConvNeXt on Cityscapes. Network and optimizer are those of its config for
# ADE20K; data, crop and length are those of its other networks on Cityscapes.
_base_ = [
    'mmseg::_base_/models/upernet_convnext.py',
    'mmseg::_base_/datasets/cityscapes.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_80k.py',
]
custom_imports = dict(imports=['mmpretrain.models', 'mmseg_rmi'], allow_failed_imports=False)
checkpoint = 'https://download.openmmlab.com/mmclassification/v0/convnext/downstream/convnext-tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634.pth'
model = dict(
    data_preprocessor=dict(size=(512, 1024)),
    backbone=dict(arch='tiny', init_cfg=dict(checkpoint=checkpoint)),
    decode_head=dict(
        type='RMIUPerHead',
        in_channels=[96, 192, 384, 768],
        loss_decode=dict(_delete_=True, type='RMILoss'),
    ),
)
optim_wrapper = dict(
    _delete_=True,
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='LearningRateDecayOptimizerConstructor',
    paramwise_cfg=dict(decay_rate=0.9, decay_type='stage_wise', num_layers=6),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type='PolyLR', power=1.0, eta_min=0.0, begin=1500, end=80000, by_epoch=False),
]
tta_model = dict(type='ProbabilityTTAModel')
