_base_ = './unet-s5-w16_1xb6-rmi-scales-500_drive-128x128.py'
# The mean of the weights of the last quarter: is it less a matter of the seed?
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='EMAHook',
        ema_type='StochasticWeightAverage',
        begin_iter=375,
        update_buffers=True,  # the statistics of batch normalisation as well
    ),
]
