_base_ = './unet-s5-w16_1xb6-ce-rmi-500_drive-128x128.py'
dataset = dict(type='ISBI2012Dataset', data_root='data/isbi2012')
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
