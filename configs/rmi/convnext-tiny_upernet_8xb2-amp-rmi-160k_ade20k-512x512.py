_base_ = 'mmseg::convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py'
custom_imports = dict(imports=['mmpretrain.models', 'mmseg_rmi'], allow_failed_imports=False)
model = dict(decode_head=dict(type='RMIUPerHead', loss_decode=dict(_delete_=True, type='RMILoss')))
tta_model = dict(type='ProbabilityTTAModel')
