# SNet146 on BGR values from 0 to 255, as the authors' classifier was trained.
_base_ = './snet146_8xb64-300k_in1k.py'

data_preprocessor = dict(mean=None, std=None, to_rgb=False)
