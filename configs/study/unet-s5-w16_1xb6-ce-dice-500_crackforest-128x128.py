_base_ = './unet-s5-w16_1xb6-ce-500_crackforest-128x128.py'
model = dict(
    decode_head=dict(
        loss_decode=[
            dict(type='CrossEntropyLoss', avg_non_ignore=True),
            dict(type='DiceLoss', use_sigmoid=False, loss_weight=3.0),
        ]
    )
)
