_base_ = './deeplabv3plus_efficientnet-lite0-d16_1xb8-ce-1160_voc12subset-257x257.py'
model = dict(decode_head=dict(loss_decode=dict(_delete_=True, type='AffinityFieldLoss')))
