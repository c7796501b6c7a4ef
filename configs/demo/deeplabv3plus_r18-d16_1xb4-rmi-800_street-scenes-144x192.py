_base_ = './deeplabv3plus_r18-d16_1xb4-ce-800_street-scenes-144x192.py'
model = dict(decode_head=dict(loss_decode=dict(_delete_=True, type='RMILoss')))
