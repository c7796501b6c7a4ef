_base_ = './unet-s5-w16_1xb6-ce-rmi-500_drive-128x128.py'
dataset = dict(type='CrackForestDataset', data_root='data/crackforest')
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
