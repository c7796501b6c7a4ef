_base_ = './deeplabv3plus_r18-d16_1xb4-ce-2k_camvid-240x320.py'
model = dict(decode_head=dict(loss_decode=dict(_delete_=True, type='RMILoss')))
