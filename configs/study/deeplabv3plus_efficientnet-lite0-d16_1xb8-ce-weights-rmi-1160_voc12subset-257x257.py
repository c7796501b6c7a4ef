# Softmax cross entropy with class weights and half a region term, as one loss.
_base_ = './deeplabv3plus_efficientnet-lite0-d16_1xb8-ce-weights-1160_voc12subset-257x257.py'
model = dict(decode_head=dict(loss_decode=dict(loss_lambda=2 / 3, loss_weight=1.5)))
tta_model = dict(activation='softmax')
