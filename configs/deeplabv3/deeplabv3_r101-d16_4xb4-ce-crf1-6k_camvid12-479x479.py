_base_ = './deeplabv3_r101-d16_4xb4-ce-6k_camvid12-479x479.py'
test_cfg = dict(type='DenseCRFTestLoop', iterations=1)
