# CamVid, as SegNet splits it: train on train, test on val, both at two thirds of the full size.
_base_ = [
    '../_base_/models/deeplabv3plus_r18-d16.py',
    '../_base_/datasets/camvid.py',
    '../_base_/default_runtime.py',
]
crop_size = (240, 320)
max_iters = 2000
model = dict(data_preprocessor=dict(_base_.data_preprocessor, size=crop_size))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(320, 240), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
# Predictions are enlarged to the size of the labels, 360 x 480, and scored there.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(320, 240), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(num_workers=2, dataset=dict(ann_file='train.txt', pipeline=train_pipeline))
val_dataloader = dict(num_workers=2, dataset=dict(ann_file='val.txt', pipeline=test_pipeline))
test_dataloader = val_dataloader

# Adam's steps do not depend on the scale of the loss: one learning rate is fair to every loss.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=5e-3, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type='PolyLR', power=0.9, begin=50, end=max_iters, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=100, max_keep_ckpts=2),  # one is whole even if the other is cut off
)
