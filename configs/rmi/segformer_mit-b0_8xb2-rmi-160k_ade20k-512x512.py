_base_ = 'mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py'
custom_imports = dict(imports=['mmseg_rmi'], allow_failed_imports=False)
model = dict(
    decode_head=dict(type='RMISegformerHead', loss_decode=dict(_delete_=True, type='RMILoss'))
)
tta_model = dict(type='ProbabilityTTAModel')
