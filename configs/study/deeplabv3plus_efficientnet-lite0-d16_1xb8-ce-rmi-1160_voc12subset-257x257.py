_base_ = [
    './deeplabv3plus_efficientnet-lite0-d16_1xb8-ce-1160_voc12subset-257x257.py',
    '../_base_/losses/ce_region_term.py',
]
model = dict(decode_head=dict(loss_decode=_base_.ce_region_term))
tta_model = dict(activation='softmax')  # the two losses would contradict each other
