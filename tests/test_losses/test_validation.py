"""Bad input is refused before any compute, with what was wrong, the value seen and what to do."""

import contextlib
import copy
import math
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional as F

from helpers.batches import make_batch
from helpers.tolerances import assert_close
from mmseg_rmi.functional.downsampling import pooled_side
from mmseg_rmi.losses import AffinityFieldLoss, RMILoss, SigmoidCrossEntropyLoss

every_loss = pytest.mark.parametrize(
    'loss',
    [RMILoss(), SigmoidCrossEntropyLoss(), AffinityFieldLoss()],
    ids=['rmi', 'bce', 'affinity'],
)


@every_loss
@pytest.mark.parametrize(
    ('shape', 'seen'),
    [
        ((2, 3, 50), r'\(2, 3, 50\)'),
        ((31, 37), r'\(31, 37\)'),
    ],
)
def test_logits_must_be_4d(loss, shape, seen):
    with pytest.raises(
        ValueError, match=f'logits must be B x C x H x W, got shape {seen}.*PointHead'
    ):
        loss(torch.zeros(shape), torch.zeros(2, 50, dtype=torch.long))


@every_loss
def test_what_is_missing_of_logits_is_added_as_the_error_says(loss):
    logits, labels = make_batch()
    with pytest.raises(ValueError, match=r'logits\[:, None\] for one class or logits\[None\] for'):
        loss(logits[0], labels[0])
    assert loss(logits[0][None], labels[0][None]).isfinite()


def test_logits_of_another_size_train_as_the_error_says():
    logits, labels = make_batch(height=32, width=32)
    low = logits[..., ::2, ::2]
    with pytest.raises(ValueError, match=r'\(torch.nn.functional.interpolate\), or .*stream'):
        RMILoss()(low, labels)
    full = F.interpolate(low, labels.shape[1:], mode='bilinear')
    assert_close(RMILoss().stream(low, labels, align_corners=False).total, RMILoss()(full, labels))


@pytest.mark.parametrize(
    'loss', [SigmoidCrossEntropyLoss(), AffinityFieldLoss()], ids=['bce', 'affinity']
)
def test_no_other_loss_names_what_it_cannot_do(loss):
    with pytest.raises(ValueError, match=r'to the labels \(torch.nn.functional.interpolate\)$'):
        loss(torch.zeros(1, 2, 16, 16), torch.zeros(1, 32, 32, dtype=torch.long))


@every_loss
def test_a_weight_of_another_size_is_told_its_own_mend(loss):
    logits, labels = make_batch()
    with pytest.raises(ValueError, match=r'got \(2, 15, 18\): give one number for each pixel of'):
        loss(logits, labels, weight=torch.ones(2, 15, 18))
    assert loss(logits, labels, weight=torch.ones(labels.shape)).isfinite()


@every_loss
@pytest.mark.parametrize('shape', [(0, 3, 31, 37), (2, 0, 31, 37), (2, 3, 0, 37)])
def test_logits_must_hold_something(loss, shape):
    labels = torch.zeros(shape[0], *shape[2:], dtype=torch.long)
    with pytest.raises(ValueError, match=f'{re.escape(str(shape))} are empty.*skip such a batch'):
        loss(torch.zeros(shape), labels)


@pytest.mark.parametrize('shape', [(0, 3, 8, 8), (2, 0, 8, 8), (2, 3, 0, 5)])
def test_streamed_logits_must_hold_something(shape):
    labels = torch.zeros(shape[0], 32, 32, dtype=torch.long)
    with pytest.raises(ValueError, match=f'{re.escape(str(shape))} are empty'):
        RMILoss().stream(torch.zeros(shape), labels, align_corners=False)


@every_loss
def test_volumes_are_refused_with_the_way_to_slices(loss):
    logits, labels = torch.zeros(2, 3, 4, 31, 37), torch.zeros(2, 4, 31, 37, dtype=torch.long)
    with pytest.raises(
        ValueError, match=r'B x C x H x W, got shape \(2, 3, 4, 31, 37\): for volumes'
    ):
        loss(logits, labels)
    for given in (labels, labels[:, None]):  # as MONAI's, with a channel
        slices = logits.transpose(1, 2).flatten(0, 1), given.flatten(0, -3)  # what the error says
        assert loss(*slices).isfinite()


@every_loss
@pytest.mark.parametrize('name', ['logits', 'labels', 'weight'])
@pytest.mark.parametrize('wrong', [[torch.zeros(2, 3, 31, 37)], 'zeros'])
def test_what_is_no_tensor_is_named(loss, name, wrong):
    logits, labels = make_batch()
    arguments = dict(logits=logits, labels=labels, weight=torch.ones(labels.shape))
    with pytest.raises(TypeError, match=f'{name} must be a tensor.*got {type(wrong).__name__}'):
        loss(**{**arguments, name: wrong})


@every_loss
def test_logits_must_be_floating_point(loss):
    logits, labels = make_batch()
    with pytest.raises(TypeError, match=r'logits must be floating point, got torch\.int64'):
        loss(logits.long(), labels)


@every_loss
@pytest.mark.parametrize('dtype', [torch.float32, torch.bool])
def test_labels_must_be_integers(loss, dtype):
    logits, labels = make_batch()
    with pytest.raises(TypeError, match=f'labels must be integer class indices, got {dtype}'):
        loss(logits, labels.to(dtype))


def plain_and_streamed():
    """Every loss as a function of logits, labels and ignore_index, the streamed one as well."""

    def stream(logits, labels, ignore_index=255):
        return RMILoss().stream(logits, labels, ignore_index=ignore_index, align_corners=False)

    return [RMILoss(), SigmoidCrossEntropyLoss(), AffinityFieldLoss(), stream]


every_way = pytest.mark.parametrize(
    'loss', plain_and_streamed(), ids=['rmi', 'bce', 'affinity', 'streamed']
)


@every_way
def test_labels_may_have_a_channel(loss):
    logits, labels = make_batch()
    torch.testing.assert_close(loss(logits, labels[:, None]), loss(logits, labels))


@every_loss
@pytest.mark.parametrize('name', ['logits', 'labels', 'weight'])
def test_a_tensor_that_is_not_dense_is_named(loss, name):
    logits, labels = make_batch()
    tensors = dict(logits=logits, labels=labels, weight=torch.ones(labels.shape))
    for form, mend in (
        (torch.Tensor.to_sparse, 'a sparse_coo one: use to_dense'),
        (lambda dense: torch.nested.nested_tensor(list(dense)), 'a nested one: use torch.nested'),
    ):
        with pytest.raises(TypeError, match=f'{name} must be a dense tensor, got {mend}'):
            loss(**{**tensors, name: form(tensors[name])})


@every_loss
@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_weights_of_pixels_must_be_finite(loss, value):
    logits, labels = make_batch()
    weight = torch.ones(labels.shape)
    weight[0, 3, 3] = value
    with pytest.raises(ValueError, match=f'weight must be finite, got {value}: use 0'):
        loss(logits, labels, weight=weight)


@every_loss
def test_an_ignore_index_of_numpy_is_an_integer(loss):
    logits, labels = make_batch()
    assert_close(loss(logits, labels, ignore_index=np.int64(255)), loss(logits, labels))


@every_way
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bool, torch.complex64])
def test_labels_are_checked_before_any_cast(loss, dtype):
    logits, labels = make_batch(void=False)
    soft = (0.99 * labels).to(dtype)
    with pytest.raises(TypeError, match=f'labels must be integer class indices, got {dtype}'):
        loss(logits, soft)


@every_way
@pytest.mark.parametrize(
    ('shape', 'mend'),
    [
        ((2, 31, 37, 3), 'look like colours.* from colours to classes'),
        ((2, 31, 37, 4), 'look like colours'),
        ((2, 31, 37, 2), 'gray levels with alpha.* one channel'),
        ((2, 3, 31, 37), r'one map per class.*labels\.argmax\(dim=1\)'),
        ((2, 5, 31, 37), 'one class index'),
    ],
)
@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
def test_labels_of_four_dimensions_are_told_what_they_look_like(loss, shape, mend, dtype):
    logits, _ = make_batch()
    with pytest.raises(
        ValueError, match=f'labels must be B x H x W.*got {re.escape(str(shape))}.*{mend}'
    ):
        loss(logits, torch.zeros(shape, dtype=dtype))


@every_way
def test_colours_are_not_taken_for_one_map_per_class(loss):
    logits, _ = make_batch()
    for shape in ((2, 3, 31, 37), (2, 4, 31, 37)):
        with pytest.raises(ValueError, match='look like colours'):
            loss(logits, torch.full(shape, 128, dtype=torch.uint8))


@every_way
@pytest.mark.parametrize('dim', [1, -1])
def test_one_hot_labels_train_after_the_argmax_that_the_error_names(loss, dim):
    logits, labels = make_batch(void=False)
    one_hot = F.one_hot(labels, 3).movedim(-1, dim)
    with pytest.raises(ValueError, match=re.escape(f'labels.argmax(dim={dim})')):
        loss(logits, one_hot)
    torch.testing.assert_close(loss(logits, one_hot.argmax(dim)), loss(logits, labels))


@every_way
def test_without_an_ignore_index_every_pixel_counts(loss):
    logits, labels = make_batch(void=False)
    torch.testing.assert_close(loss(logits, labels, ignore_index=None), loss(logits, labels))
    labels[1, 2, 3] = 255
    expected = r'labels hold 255 in image 1 .*: expected 0 to 2 \(ignore_index=None: nothing is'
    with pytest.raises(ValueError, match=expected):
        loss(logits, labels, ignore_index=None)


@every_way
@pytest.mark.parametrize('wrong', ['255', 255.0, True])
def test_ignore_index_must_be_an_integer(loss, wrong):
    with pytest.raises(TypeError, match=f'ignore_index must be an integer, got {wrong!r}'):
        loss(*make_batch(), ignore_index=wrong)


@every_way
def test_a_label_that_wraps_in_32_bits_is_unknown(loss):
    logits, labels = make_batch()
    labels[0, 5, 30] = 2**32 + 1
    with pytest.raises(ValueError, match='labels hold 4294967297 in image 0'):
        loss(logits, labels)


@every_loss
@pytest.mark.parametrize('shape', [(2, 31, 36), (1, 31, 37), (2, 37, 31)])
@pytest.mark.parametrize('name', ['labels', 'weight'])
def test_labels_and_weight_must_have_the_shape_of_the_logits(loss, name, shape):
    logits, labels = make_batch()
    arguments = dict(labels=labels, weight=torch.ones(labels.shape))
    arguments[name] = torch.zeros(shape).to(arguments[name].dtype)
    expected = re.escape(
        f'{name} must be B x H x W = (2, 31, 37) like the logits (2, 3, 31, 37), got {shape}'
    )
    with pytest.raises(ValueError, match=expected):
        loss(logits, **arguments)


@every_loss
@pytest.mark.parametrize('name', ['labels', 'weight'])
def test_labels_and_weight_must_be_on_the_device_of_the_logits(loss, name):
    logits, labels = make_batch()
    arguments = dict(labels=labels, weight=torch.ones(labels.shape))
    arguments[name] = arguments[name].to('meta')
    with pytest.raises(
        ValueError, match=rf'{name}.device is meta.* use {name}.to\(logits.device\)'
    ):
        loss(logits, **arguments)


@every_loss
@pytest.mark.parametrize('image', [0, 1])
@pytest.mark.parametrize('value', [3, 254, -1, -100])
def test_unknown_label_is_named_with_its_image(loss, value, image):
    logits, labels = make_batch()
    labels[image, 30, 36] = value
    expected = (
        f'labels hold {value} in image {image} of the batch: expected 0 to 2 or ignore_index=255'
    )
    with pytest.raises(ValueError, match=f'{expected}.*num_classes of the head'):
        loss(logits, labels)


@every_loss
def test_first_unknown_label_is_named(loss):
    logits, labels = make_batch(images=3)
    labels[1, 20, 20], labels[1, 20, 21], labels[2, 0, 30] = 7, 8, 9
    with pytest.raises(ValueError, match='labels hold 7 in image 1 of the batch'):
        loss(logits, labels)


@pytest.mark.parametrize('loss', [RMILoss(), SigmoidCrossEntropyLoss()], ids=['rmi', 'bce'])
def test_binary_labels_are_zero_and_one(loss):
    logits, labels = make_batch(classes=1)
    loss(logits, labels)
    labels[1, 30, 0] = 2
    with pytest.raises(ValueError, match='labels hold 2 in image 1 of the batch: expected 0 to 1'):
        loss(logits, labels)


@every_loss
def test_255_is_unknown_where_another_label_is_ignored(loss):
    logits, labels = make_batch()
    with pytest.raises(ValueError, match=r'labels hold 255 in image 0 .* ignore_index=-100'):
        loss(logits, labels, ignore_index=-100)


@every_loss
def test_loss_per_pixel_is_refused_with_the_mend(loss):
    logits, labels = make_batch()
    with pytest.raises(
        ValueError, match=r"reduction_override='none'.*OHEMPixelSampler.*set sampler=None"
    ):
        loss(logits, labels, reduction_override='none')


@every_loss
def test_other_reductions_are_refused(loss):
    logits, labels = make_batch()
    with pytest.raises(ValueError, match=r"reduction_override must be None or 'mean', got 'sum'"):
        loss(logits, labels, reduction_override='sum')
    assert loss(logits, labels, reduction_override='mean') == loss(logits, labels)


@every_loss
def test_avg_factor_is_refused(loss):
    logits, labels = make_batch()
    with pytest.raises(ValueError, match='avg_factor=100 is not supported'):
        loss(logits, labels, avg_factor=100)
    assert loss(logits, labels, avg_factor=None) == loss(logits, labels)


@every_loss
def test_unknown_argument_is_refused(loss):
    logits, labels = make_batch()
    with pytest.raises(TypeError, match='reduction'):
        loss(logits, labels, reduction='mean')


@pytest.mark.parametrize('downsample', ['avg', 'max', 'interp'])
def test_advice_on_a_region_that_does_not_fit_is_right(downsample):
    """Every crop and factor that is named works, and no smaller crop or larger factor does."""
    refused = 0
    for region_size in (2, 3, 5, 10):
        for factor in (1, 2, 3, 4, 5, 7, 8):
            for side in (1, 2, 3, 5, 8, 13):
                refused += not fits(side, region_size, downsample, factor)
    assert refused > 20


def fits(side, region_size, downsample, factor):
    """Whether a square crop is accepted; if not, the advice in the error is followed."""
    error = region_error(side, region_size, downsample, factor)
    if error is None:
        assert pooled_side(side, downsample, factor) >= region_size
        return True
    pooled = max(pooled_side(side, downsample, factor), 0)
    assert pooled < region_size
    assert (
        f'region_size={region_size} is larger than the downsampled map of {pooled} x {pooled}'
        in error
    )
    assert f'full size {side} x {side}, downsample_factor={factor}' in error

    crop = int(re.search(r'crops of at least (\d+) x \1', error).group(1))
    assert region_error(crop, region_size, downsample, factor) is None
    assert region_error(crop - 1, region_size, downsample, factor) is not None
    advised = re.search(r'a downsample_factor of at most (\d+)', error)
    largest = int(advised.group(1)) if advised else 0
    assert largest < factor
    for smaller in range(1, factor):
        accepted = region_error(side, region_size, downsample, smaller) is None
        assert accepted == (smaller <= largest)
    return False


def region_error(side, region_size, downsample, factor):
    loss = RMILoss(region_size=region_size, downsample=downsample, downsample_factor=factor)
    labels = torch.zeros(1, side, side, dtype=torch.long)
    try:
        assert loss(torch.zeros(1, 1, side, side), labels).isfinite()
    except ValueError as error:
        return str(error)
    return None


def test_region_must_fit_the_shorter_side():
    logits, labels = make_batch(height=64, width=7)
    with pytest.raises(ValueError, match=r'map of 17 x 2 .*at least 8 x 8'):
        RMILoss()(logits, labels)


def test_pixel_term_alone_needs_no_region():
    logits, labels = make_batch(height=2, width=2, void=False)
    loss = RMILoss(loss_lambda=1)(logits, labels)
    assert_close(loss, SigmoidCrossEntropyLoss()(logits, labels))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(ridge=0.0), r'ridge must be greater than 0, got 0\.0'),
        (dict(downsample_factor=2**70), 'downsample_factor must be from 1 to 4096'),
        (dict(impl='cuda'), "impl must be one of 'auto', 'reference', 'torch', 'triton', got 'cud"),
    ],
)
def test_wrong_constant_of_the_rmi_loss_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        RMILoss(**arguments)


@pytest.mark.parametrize('loss', [RMILoss, SigmoidCrossEntropyLoss, AffinityFieldLoss])
@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (dict(loss_name='rmi'), ValueError, "loss_name must contain 'loss'.*got 'rmi'"),
        (dict(loss_name=None), ValueError, "loss_name must contain 'loss'.*got None"),
        (dict(loss_weight='1'), TypeError, "loss_weight must be a number, got '1'"),
        (dict(loss_weight=math.nan), ValueError, 'loss_weight must be finite, got nan'),
        (dict(loss_weight=1e38), ValueError, r'loss_weight must be from .* to 1e\+12, got 1e\+38'),
        (dict(loss_weight=2**70), ValueError, r'loss_weight must be from .* to 1e\+12, got 118'),
    ],
)
def test_wrong_constant_of_any_loss_is_named(loss, arguments, error, message):
    with pytest.raises(error, match=message):
        loss(**arguments)


@pytest.mark.parametrize('loss', [RMILoss, SigmoidCrossEntropyLoss])
def test_wrong_class_weight_is_named(loss):
    with pytest.raises(ValueError, match=r'class_weight must be at least 0, got -0\.5'):
        loss(class_weight=[1.0, -0.5, 1.0])


@pytest.mark.parametrize('class_weight', [[1.0], [1.0, 2.0]])
def test_class_weight_needs_one_value_per_class(class_weight):
    logits, labels = make_batch()
    with pytest.raises(
        ValueError, match=rf'class_weight has shape \({len(class_weight)},\) for 3 channels'
    ):
        SigmoidCrossEntropyLoss(class_weight=class_weight)(logits, labels)


@pytest.mark.skipif(torch.version.cuda is None, reason='a CPU build of torch knows no CUDA tensors')
@every_loss
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('training', [False, True])
def test_host_never_waits_for_the_gpu(loss, training, weighted):
    """Fake tensors say that they are on a GPU, and raise when the host asks for their values."""
    with FakeTensorMode():
        logits = torch.zeros(2, 3, 32, 32, device='cuda', dtype=torch.half, requires_grad=training)
        labels = torch.zeros(2, 32, 32, device='cuda', dtype=torch.long)
        weight = torch.ones(2, 32, 32, device='cuda') if weighted else None
        assert loss(logits, labels, weight=weight).device.type == 'cuda'
        with pytest.raises(DataDependentOutputException):
            bool((labels >= 0).all())


@every_loss
@pytest.mark.parametrize('weighted', [False, True])
def test_host_never_waits_for_values_forward_or_backward(loss, weighted, monkeypatch):
    """Meta tensors, which have no values at all, take the way of a GPU's."""
    monkeypatch.setattr(torch.Tensor, 'is_cuda', property(lambda self: True))
    no_autocast = contextlib.nullcontext()  # meta tensors have none
    monkeypatch.setattr(torch, 'autocast', lambda *args, **kwargs: no_autocast)
    logits = torch.zeros(2, 3, 32, 32, device='meta', dtype=torch.half, requires_grad=True)
    labels = torch.zeros(2, 32, 32, device='meta', dtype=torch.long)
    weight = torch.ones(2, 32, 32, device='meta') if weighted else None
    loss(logits, labels, weight=weight).backward()
    assert logits.grad.dtype == torch.half
    with pytest.raises(RuntimeError, match='meta'):
        bool((labels >= 0).all())


@every_loss
def test_unknown_label_fails_a_device_assertion_on_the_gpu(loss, monkeypatch):
    """The assertion is the one that CUDA runs; here it runs, and fails, on the CPU."""
    monkeypatch.setattr(torch.Tensor, 'is_cuda', property(lambda self: True))
    logits, labels = make_batch()
    loss(logits, labels)
    labels[1, 2, 3] = 3
    with pytest.raises(RuntimeError, match='labels hold an unknown value: expected 0 to 2'):
        loss(logits, labels)


@pytest.mark.parametrize('loss', [RMILoss, SigmoidCrossEntropyLoss, AffinityFieldLoss])
def test_arguments_of_the_loss_that_a_config_replaces_are_told_with_the_mend(loss):
    base = Config(dict(loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False)))
    forgotten, right = copy.deepcopy(base), copy.deepcopy(base)
    forgotten.merge_from_dict(dict(loss_decode=dict(type=loss.__name__)))
    mend = rf"no argument 'use_sigmoid'.*dict\(_delete_=True, type='{loss.__name__}'\)"
    with pytest.raises(TypeError, match=f'{loss.__name__} has {mend}.* are .*loss_name$'):
        MODELS.build(forgotten.loss_decode)
    right.merge_from_dict(dict(loss_decode=dict(_delete_=True, type=loss.__name__)))
    assert isinstance(MODELS.build(right.loss_decode), loss)


@pytest.mark.parametrize('kind', [RMILoss, SigmoidCrossEntropyLoss, AffinityFieldLoss])
def test_the_line_that_deletes_inherited_arguments_also_fits_a_config_without_a_base(kind):
    text = f"loss = dict(_delete_=True, type='{kind.__name__}', loss_weight=0.5)"
    settings = Config.fromstring(text, '.py').loss
    assert '_delete_' in settings
    assert MODELS.build(settings).loss_weight == 0.5
    with pytest.raises(TypeError, match=rf"{kind.__name__} has no argument 'use_sigmoid'\."):
        MODELS.build(dict(settings, use_sigmoid=False))
