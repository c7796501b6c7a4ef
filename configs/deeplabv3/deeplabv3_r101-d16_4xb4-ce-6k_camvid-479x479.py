_base_ = [
    '../_base_/models/deeplabv3_r101-d16.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/schedule_6k.py',
    '../_base_/default_runtime.py',
]
model = dict(data_preprocessor=_base_.data_preprocessor, decode_head=dict(num_classes=11))
