_base_ = './unet-s5-w16_1xb6-ce-rmi-500_drive-128x128.py'
# The region term as on VOC, beside cross entropy with a weight of 1 / sqrt(frequency) for each
# class, 1 on average over all pixels: vessels, an eighth of the pixels.
model = dict(
    decode_head=dict(
        loss_decode=dict(downsample='avg', downsample_factor=4, class_weight=[0.83, 2.19])
    )
)
