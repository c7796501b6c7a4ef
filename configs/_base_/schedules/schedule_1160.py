# 25 epochs of CamVid's training images in batches of 8.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
    constructor='WeightsOnlyDecayConstructor',
    paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=5.0))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='PolyLR', power=0.9, begin=100, end=1160, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1160, val_interval=1160)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
