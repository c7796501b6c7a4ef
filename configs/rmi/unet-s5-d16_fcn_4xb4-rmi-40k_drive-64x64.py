# A binary map in one channel. Vessels are a few pixels wide: DF = 4 would average them away.
_base_ = 'mmseg::unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64.py'
custom_imports = dict(imports=['mmseg_rmi'], allow_failed_imports=False)
model = dict(
    decode_head=dict(
        out_channels=1,
        threshold=0.5,
        loss_decode=dict(_delete_=True, type='RMILoss', downsample_factor=2),
    )
)
tta_model = dict(type='ProbabilityTTAModel')
