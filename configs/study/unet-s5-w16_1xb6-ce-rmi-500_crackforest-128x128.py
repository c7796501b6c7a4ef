# Softmax cross entropy and half a region term, as one loss.
_base_ = './unet-s5-w16_1xb6-ce-500_crackforest-128x128.py'
model = dict(
    decode_head=dict(
        loss_decode=dict(
            _delete_=True,
            type='RMILoss',
            pixel_term='ce',
            loss_lambda=2 / 3,
            loss_weight=1.5,
            downsample='max',
            downsample_factor=3,
        )
    )
)
tta_model = dict(activation='softmax')
