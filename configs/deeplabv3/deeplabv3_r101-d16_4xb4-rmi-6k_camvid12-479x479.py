_base_ = './deeplabv3_r101-d16_4xb4-ce-6k_camvid12-479x479.py'
model = dict(decode_head=dict(loss_decode=dict(_delete_=True, type='RMILoss')))
