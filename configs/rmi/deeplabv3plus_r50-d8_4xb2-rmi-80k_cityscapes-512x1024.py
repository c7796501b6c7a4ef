_base_ = 'mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb2-80k_cityscapes-512x1024.py'
custom_imports = dict(imports=['mmseg_rmi'], allow_failed_imports=False)
model = dict(
    decode_head=dict(
        type='RMIDepthwiseSeparableASPPHead', loss_decode=dict(_delete_=True, type='RMILoss')
    )
)
tta_model = dict(type='ProbabilityTTAModel')
