# RMI at three scales: the same as RMILoss(downsample_factor=(2, 4, 8)), a term each in the log.
_base_ = './unet-s5-w16_1xb6-ce-500_drive-128x128.py'
model = dict(
    decode_head=dict(
        out_channels=1,
        threshold=0.5,
        loss_decode=[
            dict(
                type='RMILoss',
                downsample_factor=factor,
                loss_weight=1 / 3,
                loss_name=f'loss_rmi_df{factor}',
            )
            for factor in (2, 4, 8)
        ],
    )
)
