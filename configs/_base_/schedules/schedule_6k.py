# The paper's schedule on CamVid: batches of 16, warm-up, then poly counted from its end.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.025, momentum=0.9, weight_decay=1e-4),
    constructor='WeightsOnlyDecayConstructor',
    paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4 / 0.025, begin=0, end=300, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=300, end=6000, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=6000, val_interval=1000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
