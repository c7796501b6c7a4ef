_base_ = ['./unet-s5-w16_1xb6-rmi-scales-500_drive-128x128.py', '../_base_/averaged_weights.py']
custom_hooks = [*_base_.custom_hooks, _base_.averaged_weights]
