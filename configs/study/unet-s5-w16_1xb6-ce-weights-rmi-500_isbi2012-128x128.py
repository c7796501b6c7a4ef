_base_ = './unet-s5-w16_1xb6-ce-rmi-500_isbi2012-128x128.py'
# The region term as on VOC, beside cross entropy with a weight of 1 / sqrt(frequency) for each
# class, 1 on average over all pixels: membranes, a fifth of the pixels.
model = dict(
    decode_head=dict(
        loss_decode=dict(downsample='avg', downsample_factor=4, class_weight=[0.84, 1.62])
    )
)
