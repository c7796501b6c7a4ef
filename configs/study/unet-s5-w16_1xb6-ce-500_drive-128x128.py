# Vessels of DRIVE: 15 images train, 5 are scored, whole.
_base_ = [
    '../_base_/models/fcn_unet-s5-w16.py',
    '../_base_/datasets/thin_structures.py',
    '../_base_/schedules/schedule_500.py',
    '../_base_/study_runtime.py',
]
