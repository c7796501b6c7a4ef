# Of runs that take minutes on a CPU and may be cut off at any time.
_base_ = './default_runtime.py'
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=100, max_keep_ckpts=2),  # one is whole even if the other is cut off
)
custom_hooks = [*_base_.custom_hooks, dict(type='ChannelsLastHook')]
