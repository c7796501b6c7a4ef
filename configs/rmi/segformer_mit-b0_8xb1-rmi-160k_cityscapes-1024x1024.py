_base_ = 'mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py'
custom_imports = dict(imports=['mmseg_rmi'], allow_failed_imports=False)
model = dict(
    decode_head=dict(type='RMISegformerHead', loss_decode=dict(_delete_=True, type='RMILoss'))
)
tta_model = dict(type='ProbabilityTTAModel')
