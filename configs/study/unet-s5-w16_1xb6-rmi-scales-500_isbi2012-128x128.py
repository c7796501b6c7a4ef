_base_ = './unet-s5-w16_1xb6-ce-500_isbi2012-128x128.py'
model = dict(
    decode_head=dict(
        out_channels=1,
        threshold=0.5,
        loss_decode=dict(_delete_=True, type='RMILoss', downsample_factor=(2, 4, 8)),
    )
)
