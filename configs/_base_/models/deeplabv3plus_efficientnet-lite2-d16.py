# Half as large again as lite0; `tools/model_converters/efficientnet_lite.py tf_efficientnet_lite2`.
_base_ = './deeplabv3plus_efficientnet-lite0-d16.py'
model = dict(
    backbone=dict(
        model_name='tf_efficientnet_lite2',
        init_cfg=dict(checkpoint='work_dirs/pretrained/tf_efficientnet_lite2.pth'),
    ),
    decode_head=dict(in_channels=352),
)
