# The mean of the weights of the last quarter of 500 iterations is saved and scored.
averaged_weights = dict(
    type='EMAHook',
    ema_type='StochasticWeightAverage',
    begin_iter=375,
    update_buffers=True,  # the statistics of batch normalisation as well
)
