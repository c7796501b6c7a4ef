# A small DeepLabv3+ on a pretrained EfficientNet-lite0, which a CPU trains in minutes.
# `tools/model_converters/efficientnet_lite.py` writes the weights; the backbone needs timm.
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        features_only=True,
        pretrained=False,
        output_stride=16,
        out_indices=(1, 4),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/pretrained/tf_efficientnet_lite0.pth',
        ),
    ),
    decode_head=dict(
        type='DepthwiseSeparableASPPHead',
        in_channels=320,
        in_index=1,
        channels=128,
        c1_in_channels=24,
        c1_channels=48,
        dilations=(1, 6, 12, 18),
        dropout_ratio=0.1,
        num_classes=11,
        norm_cfg=norm_cfg,
        align_corners=True,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
