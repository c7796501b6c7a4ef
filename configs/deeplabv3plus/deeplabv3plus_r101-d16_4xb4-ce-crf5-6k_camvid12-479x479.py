_base_ = './deeplabv3plus_r101-d16_4xb4-ce-6k_camvid-479x479.py'
model = dict(decode_head=dict(num_classes=12))
dataset = dict(type='CamVid12Dataset')
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
test_cfg = dict(type='DenseCRFTestLoop', iterations=5)
