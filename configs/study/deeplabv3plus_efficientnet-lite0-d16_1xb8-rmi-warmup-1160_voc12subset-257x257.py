_base_ = './deeplabv3plus_efficientnet-lite0-d16_1xb8-rmi-1160_voc12subset-257x257.py'
# BCE for half of the training, then the region term bit by bit.
custom_hooks = [*_base_.custom_hooks, dict(type='RegionTermWarmUpHook', begin=0.5, end=1.0)]
