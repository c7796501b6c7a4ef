# A part of VOC 2012 in VOC's own layout, at half the resolution of the paper.
_base_ = [
    '../_base_/models/deeplabv3plus_efficientnet-lite0-d16.py',
    '../_base_/datasets/pascal_voc12_aug.py',
    '../_base_/schedules/schedule_1160.py',
    '../_base_/study_runtime.py',
]
data_root = 'data/voc2012_subset'
crop_size = (257, 257)
# What the backbone was trained with, not the statistics of the data set.
imagenet = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
model = dict(
    data_preprocessor=dict(_base_.data_preprocessor, size=crop_size, **imagenet),
    decode_head=dict(num_classes=21),
)
bicubic = dict(interpolation='bicubic', backend='pillow')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=crop_size,
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
        **bicubic,
    ),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
# Predictions are enlarged to the size of the labels and scored there.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=crop_size, keep_ratio=True, **bicubic),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        _delete_=True,
        **{**_base_.dataset_train, 'data_root': data_root, 'pipeline': train_pipeline},
    ),
)
val_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
test_evaluator = [
    dict(type='ClasswiseIoUMetric', iou_metrics=['mIoU']),
    dict(type='BoundaryIoUMetric'),
    dict(type='TrimapIoUMetric'),
]
