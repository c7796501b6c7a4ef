# CamVid at its full size for the 200 epochs of the paper.
_base_ = [
    '../_base_/models/deeplabv3plus_efficientnet-lite2-d16.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/schedule_1160.py',
    '../_base_/study_runtime.py',
]
crop_size = (360, 480)
# What the backbone was trained with, not the statistics of the data set.
imagenet = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
model = dict(data_preprocessor=dict(_base_.data_preprocessor, size=crop_size, **imagenet))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=(480, 360),
        ratio_range=(0.75, 1.25),
        keep_ratio=True,
        interpolation='bicubic',
        backend='pillow',
    ),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_cfg = dict(max_iters=9200, val_interval=9200)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='PolyLR', power=0.9, begin=100, end=9200, by_epoch=False),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(ann_file='train.txt', pipeline=train_pipeline),
)
val_dataloader = dict(num_workers=1, dataset=dict(ann_file='val.txt', pipeline=test_pipeline))
test_dataloader = val_dataloader
test_evaluator = [
    dict(type='ClasswiseIoUMetric', iou_metrics=['mIoU']),
    dict(type='BoundaryIoUMetric'),
    dict(type='TrimapIoUMetric'),
]
