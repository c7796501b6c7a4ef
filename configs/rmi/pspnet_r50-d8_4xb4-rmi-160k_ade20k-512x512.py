_base_ = 'mmseg::pspnet/pspnet_r50-d8_4xb4-160k_ade20k-512x512.py'
custom_imports = dict(imports=['mmseg_rmi'], allow_failed_imports=False)
model = dict(decode_head=dict(type='RMIPSPHead', loss_decode=dict(_delete_=True, type='RMILoss')))
tta_model = dict(type='ProbabilityTTAModel')
