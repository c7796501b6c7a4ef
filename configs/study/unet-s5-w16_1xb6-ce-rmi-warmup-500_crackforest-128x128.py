_base_ = './unet-s5-w16_1xb6-ce-rmi-500_crackforest-128x128.py'
# Cross entropy alone first: the region term does not lift probabilities that are too low.
custom_hooks = [*_base_.custom_hooks, dict(type='RegionTermWarmUpHook', begin=0.1, end=0.3)]
