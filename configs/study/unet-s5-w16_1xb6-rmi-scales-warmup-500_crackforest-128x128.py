_base_ = './unet-s5-w16_1xb6-rmi-scales-500_crackforest-128x128.py'
# BCE alone first: the region term does not know a map from its inverse.
custom_hooks = [*_base_.custom_hooks, dict(type='RegionTermWarmUpHook', begin=0.1, end=0.3)]
