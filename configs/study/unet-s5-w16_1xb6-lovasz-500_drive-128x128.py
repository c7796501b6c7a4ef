_base_ = './unet-s5-w16_1xb6-ce-500_drive-128x128.py'
model = dict(decode_head=dict(loss_decode=dict(_delete_=True, type='LovaszLoss', reduction='none')))
