_base_ = './deeplabv3plus_efficientnet-lite0-d16_1xb8-ce-1160_camvid-240x320.py'
# Weighted as in MMSegmentation's U-Net configs; of softmax, as the cross entropy beside it.
model = dict(
    decode_head=dict(
        loss_decode=[
            dict(type='CrossEntropyLoss', avg_non_ignore=True),
            dict(type='DiceLoss', use_sigmoid=False, loss_weight=3.0),
        ]
    )
)
