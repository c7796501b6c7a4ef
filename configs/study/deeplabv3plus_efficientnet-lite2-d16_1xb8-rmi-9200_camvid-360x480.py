_base_ = './deeplabv3plus_efficientnet-lite2-d16_1xb8-ce-9200_camvid-360x480.py'
model = dict(decode_head=dict(loss_decode=dict(_delete_=True, type='RMILoss')))
