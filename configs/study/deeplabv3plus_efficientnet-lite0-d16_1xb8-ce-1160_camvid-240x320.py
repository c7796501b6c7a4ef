# CamVid, as SegNet splits it: train on train, test on val, both at two thirds of the full size.
_base_ = [
    '../_base_/models/deeplabv3plus_efficientnet-lite0-d16.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/schedule_1160.py',
    '../_base_/study_runtime.py',
]
crop_size = (240, 320)
# What the backbone was trained with, not the statistics of the data set.
imagenet = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
model = dict(data_preprocessor=dict(_base_.data_preprocessor, size=crop_size, **imagenet))
bicubic = dict(interpolation='bicubic', backend='pillow')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=(320, 240),
        ratio_range=(0.75, 1.25),
        keep_ratio=True,
        **bicubic,
    ),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
# Predictions are enlarged to the size of the labels, 360 x 480, and scored there.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(320, 240), keep_ratio=True, **bicubic),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
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
