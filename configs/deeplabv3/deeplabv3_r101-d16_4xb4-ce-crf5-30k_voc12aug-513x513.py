_base_ = './deeplabv3_r101-d16_4xb4-ce-30k_voc12aug-513x513.py'
test_cfg = dict(type='DenseCRFTestLoop', iterations=5)
