# CamVid at its full size, a larger network, and the 200 epochs of the paper.
_base_ = './deeplabv3plus_efficientnet-lite0-d16_1xb8-ce-1160_camvid-240x320.py'
crop_size = (360, 480)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        model_name='tf_efficientnet_lite2',
        init_cfg=dict(checkpoint='work_dirs/pretrained/tf_efficientnet_lite2.pth'),
    ),
    decode_head=dict(in_channels=352),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(480, 360), ratio_range=(0.75, 1.25), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=9200, val_interval=9200)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='PolyLR', power=0.9, begin=100, end=9200, by_epoch=False),
]
