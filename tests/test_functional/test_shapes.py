"""The functions refuse shapes that do not fit, with the shape seen and what to do."""

import re

import pytest
import torch
from torch.nn import functional as F

from helpers.batches import make_batch
from mmseg_rmi.functional import rmi_loss, streamed_rmi_loss

INPUTS = dict(
    logits=(2, 3, 32, 32), labels=(2, 32, 32), pixel_weight=(2, 32, 32), class_weight=(3,)
)
OF_EITHER = [
    (dict(logits=(3, 32, 32)), 'logits must be B x C x H x W, got shape (3, 32, 32): add what is'),
    (dict(logits=(2, 3, 4, 32, 32)), 'got shape (2, 3, 4, 32, 32): for volumes, pass on slices'),
    (
        dict(logits=(0, 3, 32, 32), labels=(0, 32, 32), pixel_weight=(0, 32, 32)),
        'logits of shape (0, 3, 32, 32) are empty: skip such a batch',
    ),
    (dict(class_weight=(2,)), 'class_weight has shape (2,) for 3 channels of logits: give one'),
    (dict(class_weight=(3, 1)), 'class_weight has shape (3, 1) for 3 channels of logits'),
]
OF_ONE_SIZE = [
    (
        dict(labels=(3, 32, 32)),
        'labels must be B x H x W = (2, 32, 32) like the logits (2, 3, 32, 32), got (3, 32, 32)',
    ),
    (dict(labels=(2, 24, 40)), 'got (2, 24, 40): resize the logits to the labels'),
    (dict(labels=(2, 1, 32, 32)), 'like the logits (2, 3, 32, 32), got (2, 1, 32, 32)'),
    (
        dict(pixel_weight=(2, 32, 31)),
        'pixel_weight must be B x H x W = (2, 32, 32) like the logits (2, 3, 32, 32), '
        'got (2, 32, 31): give one number for each pixel of the labels',
    ),
    (dict(pixel_weight=(3,)), 'got (3,): give one number for each pixel of the labels'),
]
OF_TWO_SIZES = [
    (dict(labels=(3, 64, 64)), 'labels must be B x H x W = (2, H, W), got (3, 64, 64)'),
    (dict(labels=(2, 1, 64, 64)), 'labels must be B x H x W = (2, H, W), got (2, 1, 64, 64)'),
    (dict(labels=(2, 0, 64)), 'labels of shape (2, 0, 64) are empty: skip such a batch'),
]
every_impl = pytest.mark.parametrize('impl', ['auto', 'reference', 'torch'])


def tensors(**shapes):
    made = {name: torch.zeros(shape) for name, shape in {**INPUTS, **shapes}.items()}
    return {**made, 'labels': made['labels'].long()}


@every_impl
@pytest.mark.parametrize(('shapes', 'message'), [*OF_EITHER, *OF_ONE_SIZE])
def test_shapes_that_do_not_fit_are_named(shapes, message, impl):
    with pytest.raises(ValueError, match=re.escape(message)):
        rmi_loss(**tensors(**shapes), impl=impl)


@every_impl
@pytest.mark.parametrize(('shapes', 'message'), [*OF_EITHER, *OF_TWO_SIZES])
def test_shapes_that_do_not_fit_a_stream_are_named(shapes, message, impl):
    inputs = tensors(**shapes)
    del inputs['pixel_weight']
    with pytest.raises(ValueError, match=re.escape(message)):
        streamed_rmi_loss(**inputs, impl=impl)


def test_logits_of_another_size_train_as_the_error_says():
    logits, labels = make_batch(height=32, width=32)
    low = logits[..., ::2, ::2]
    with pytest.raises(
        ValueError, match=r'interpolate.*, or take streamed_rmi_loss, which does so'
    ):
        rmi_loss(low, labels)
    full = F.interpolate(low, labels.shape[1:], mode='bilinear')
    torch.testing.assert_close(streamed_rmi_loss(low, labels).total, rmi_loss(full, labels))
