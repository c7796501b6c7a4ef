_base_ = './deeplabv3plus_efficientnet-lite0-d16_1xb8-ce-1160_voc12subset-257x257.py'
# The region term of RMI, weighted as in RMI, with softmax cross entropy in the place of BCE.
model = dict(
    decode_head=dict(
        loss_decode=[
            dict(type='CrossEntropyLoss', avg_non_ignore=True),
            dict(type='RMILoss', loss_lambda=0.0, loss_weight=0.5),
        ]
    )
)
tta_model = dict(activation='softmax')  # the two losses would contradict each other
