"""The affinity field loss against an independent oracle, by hand, and as a function of torch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from helpers import affinity_oracle
from helpers.batches import make_batch, sharp_logits
from helpers.implementations import value_and_gradient
from helpers.tolerances import assert_close
from mmseg_rmi.functional import affinity_field_loss
from mmseg_rmi.functional.affinity_field import (
    DIRECTIONS,
    bernoulli_divergence,
    count_elements,
    downsample_labels,
    one_hot,
)
from mmseg_rmi.functional.downsampling import downsample


@pytest.mark.parametrize('contrast', [0.5, 12.0])
@pytest.mark.parametrize('classes', [2, 4])
@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(margin=0.5),
        dict(downsample_factor=1),
        dict(downsample_factor=3, sizes=(2,)),
        dict(downsample_factor=2, sizes=(1, 3)),
        dict(downsample_factor=2, sizes=(3, 2, 1), ignore_index=1),
    ],
    ids=str,
)
def test_value_is_that_of_the_oracle(settings, classes, contrast):
    logits, labels = make_batch(classes=classes, height=17, width=24, contrast=contrast)
    if 'ignore_index' in settings:
        labels[labels == 255] = 1
    expected = affinity_oracle.affinity(logits, labels, **settings)
    assert expected > 0
    assert_close(affinity_field_loss(logits, labels, **settings), expected)


def test_class_255_counts_where_another_label_is_ignored():
    logits, labels = make_batch(classes=257, height=13, width=15)
    labels[labels == 255] = -1
    labels[:, 8:] = 255
    settings = dict(downsample_factor=1, ignore_index=-1)
    expected = affinity_oracle.affinity(logits, labels, **settings)
    assert_close(affinity_field_loss(logits, labels, **settings), expected)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int8, torch.int16, torch.int32], ids=str)
def test_labels_may_be_of_any_integer_type(dtype):
    logits, labels = make_batch()
    labels[labels == 255] = 127
    settings = dict(downsample_factor=2, ignore_index=127)
    expected = affinity_field_loss(logits, labels, **settings)
    assert affinity_field_loss(logits, labels.to(dtype), **settings) == expected


@pytest.mark.parametrize('ignore_index', [2**24 + 1, 2**31 - 1, -(2**31)])
def test_ignore_index_may_be_a_large_number(ignore_index):
    logits, labels = make_batch()
    settings = dict(downsample_factor=2)
    expected = affinity_field_loss(logits, labels, **settings)
    labels[labels == 255] = ignore_index
    assert affinity_field_loss(logits, labels, ignore_index=ignore_index, **settings) == expected


@given(size=st.tuples(st.integers(1, 300), st.integers(1, 300)), factor=st.integers(1, 40))
def test_labels_are_sampled_where_torch_takes_the_nearest_pixel(size, factor):
    assume(min(size) >= factor)
    labels = torch.arange(size[0] * size[1]).reshape(1, *size)  # float32 holds all of them
    sampled = downsample(labels[:, None].float(), 'interp', factor, interpolation='nearest')
    assert torch.equal(downsample_labels(labels, factor), sampled[:, 0].long())


def test_weights_are_chosen_by_the_label_of_the_centre():
    logits, labels = make_batch(height=13, width=15)
    weights = torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    settings = dict(sizes=(1, 2), downsample_factor=1, size_weights=weights)
    expected = affinity_oracle.affinity(logits, labels, **settings)
    assert_close(affinity_field_loss(logits, labels, **settings), expected)


def test_value_and_gradient_of_3x3_by_hand():
    """Two classes; all pixels at p = 1/2 but the centre, p = 3/4 of its class 1; it alone has it.

    The centre has 8 neighbours, which makes 16 ordered pairs and 32 elements that are edges. A
    centre p and a neighbour q differ by KL(q, p), the same for both classes. In 8 pairs p is 3/4
    and q 1/2: KL = 1/2 log 2/3 + 1/2 log 2 = 1/2 log 4/3. In the other 8: 3/4 log 3/2 + 1/4 log
    1/2. The edges' mean is 3 less the mean of the two. The other pairs hold equal probabilities,
    so that theirs is 0.
    """
    labels = torch.zeros(1, 3, 3, dtype=torch.long)
    labels[0, 1, 1] = 1
    logits = torch.zeros(1, 2, 3, 3, dtype=torch.float64)
    logits[0, 1, 1, 1] = math.log(3)
    value, gradient = value_and_gradient(
        affinity_field_loss, logits, labels, sizes=(1,), downsample_factor=1
    )
    forth = math.log(4 / 3) / 2
    back = 3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2)
    assert_close(value, 3 - (forth + back) / 2)

    # By the centre's p = 3/4: d forth / dp = (p - q) / (p (1 - p)) = 4/3, d back / dp = log 3. Both
    # in half of the elements; dp / dlogit = 3/16.
    by_centre = -(4 / 3 + math.log(3)) / 2 * 3 / 16
    assert_close(gradient[0, :, 1, 1], [-by_centre, by_centre])
    # By a neighbour's q = 1/2 in its two pairs of 16: log(q / (1 - q)) - log 3 and (q - p) / (1/4)
    # with dq / dlogit = 1/4.
    by_neighbour = (math.log(3) + 1) / 16 * 1 / 4
    assert_close(gradient[0, 1, 0, 0], by_neighbour)


def test_pair_with_an_ignored_pixel_does_not_count_by_hand():
    """A row a b x c, x ignored: the two pairs of a and b are left, alike in all classes."""
    labels = torch.tensor([[[0, 0, 255, 1], [255, 255, 255, 255]]])
    logits = torch.zeros(1, 2, 2, 4, dtype=torch.float64)
    row = [0.0, math.log(3), 50.0, -50.0]
    logits[0, 0, 0] = torch.tensor(row, dtype=torch.float64)
    forth = math.log(4 / 3) / 2
    back = 3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2)
    value, gradient = value_and_gradient(affinity_field_loss, logits, labels, downsample_factor=1)
    assert_close(value, (forth + back) / 2)
    assert (gradient[0, :, 0, :2] != 0).all()
    assert (gradient[0, :, 0, 2:] == 0).all()
    assert (gradient[0, :, 1] == 0).all()


@pytest.mark.parametrize('size', [1, 2, 3])
def test_elements_are_counted_as_pairs_are_listed(size):
    _, labels = make_batch(height=11, width=9)
    found = np.zeros(2, dtype=int)
    for truth in labels.numpy():
        for one, other in affinity_oracle.pairs(truth.shape, size):
            if 255 not in (truth[one], truth[other]):
                for c in range(3):
                    found[int((truth[one] == c) == (truth[other] == c))] += 1
    assert found.min() > 0
    assert count_elements(labels, 3, [size]).tolist() == [found.tolist()]


@pytest.mark.parametrize('sizes', [(1,), (1, 2)])
@pytest.mark.parametrize('downsample_factor', [1, 2])
def test_gradient_is_right_with_ignored_pixels(sizes, downsample_factor):
    logits, labels = make_batch(images=1, height=8, width=7)
    labels[0, 4, 3] = 255
    weights = torch.rand(2, 3, len(sizes), dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(
        lambda *maps: affinity_field_loss(
            maps[0], labels, sizes, 3.0, downsample_factor, size_weights=maps[1]
        ),
        (logits.requires_grad_(), weights),
    )


def test_batch_without_a_valid_pair_is_zero():
    logits, labels = make_batch()
    labels[:] = 255
    labels[0, 0, 0] = 1
    value, gradient = value_and_gradient(affinity_field_loss, logits, labels, downsample_factor=1)
    assert value == 0
    assert (gradient == 0).all()


def test_batch_without_an_edge_has_the_other_mean():
    logits, labels = make_batch(classes=2, void=False, height=9, width=9)
    labels[:] = 0
    expected = affinity_oracle.affinity(logits, labels, downsample_factor=1)
    assert expected > 0
    assert_close(affinity_field_loss(logits, labels, downsample_factor=1), expected)


def test_perfect_map_is_zero_and_uniform_map_is_the_margin():
    """KL of 1 - 1e-4 and 1e-4 is about 9.2, beyond the margin."""
    _, labels = make_batch()
    perfect = sharp_logits(labels, 3, 50.0)
    assert affinity_field_loss(perfect, labels, downsample_factor=1) < 1e-12
    assert_close(affinity_field_loss(0 * perfect, labels, downsample_factor=1), 3.0)


def test_divergence_is_that_of_torch():
    p, q = torch.rand(2, 200, dtype=torch.float64).clamp(0.001, 0.999)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Bernoulli(q), torch.distributions.Bernoulli(p)
    )
    assert_close(bernoulli_divergence(p, q), expected)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_divergence_of_certain_pixels_is_finite(dtype):
    """Of 0 and 1: 1e-4 log 1e-4 + 1 log 1e4."""
    p, q = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=dtype), torch.tensor([0.0, 1, 1, 0]).to(dtype)
    far = (1 - 1e-4) * math.log(1e4)
    assert_close(bernoulli_divergence(p, q), [0.0, 0.0, far, far])


def test_way_back_keeps_no_copy_for_each_direction():
    """Beside logits and probabilities, nothing as large as a map is kept."""
    logits, labels = make_batch(height=64, width=64)
    logits.requires_grad_()
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        affinity_field_loss(logits, labels, (1, 2, 3), downsample_factor=1)
    assert sum(kept.values()) < 2.5 * logits.nbytes


def without_opposite_pairs(logits, labels, factor=8, margin=3.0):
    """The loss of size 1 as the original drops pairs: if the opposite neighbour is void as well."""
    labels = downsample_labels(labels, factor)
    probability = downsample(logits, 'interp', factor).softmax(dim=1)
    classes, (height, width) = probability.shape[1], labels.shape[1:]
    maps = F.pad(probability, (1, 1, 1, 1)), F.pad(labels, (1, 1, 1, 1), value=255)
    sums, counts = [0.0, 0.0], [0, 0]
    for i, j in DIRECTIONS:
        at = (..., slice(1 + i, 1 + i + height), slice(1 + j, 1 + j + width))
        opposite = (..., slice(1 - i, 1 - i + height), slice(1 - j, 1 - j + width))
        void = [labels == 255, maps[1][at] == 255, maps[1][opposite] == 255]
        counted = ~torch.stack(void).any(dim=0).unsqueeze(1)
        edge = one_hot(labels, classes) != one_hot(maps[1][at], classes)
        divergence = bernoulli_divergence(probability, maps[0][at])
        separation, grouping = (margin - divergence).clamp(min=0), divergence
        for k, (chosen, cost) in enumerate([(edge, separation), (~edge, grouping)]):
            sums[k] = sums[k] + (cost * (chosen & counted)).sum()
            counts[k] += (chosen & counted).sum()
    return sums[0] / counts[0] + sums[1] / counts[1]


def test_what_the_originals_rule_for_pairs_changes_on_voc(data_root):
    """docs/affinity.md states it: 1.3 % of the value, 13 % of the gradient's norm."""
    files = sorted((data_root / 'data/voc2012_subset/SegmentationClass').glob('*.png'))[:4]
    generator = torch.Generator().manual_seed(0)
    values, distances = [], []
    for file in files:
        labels = torch.from_numpy(np.array(Image.open(file), dtype=np.int64))[None]
        smooth = F.avg_pool2d(one_hot(labels, 21).double(), 17, 1, 8)
        logits = 6 * smooth + torch.randn(smooth.shape, generator=generator)
        ours = value_and_gradient(affinity_field_loss, logits, labels)
        original = value_and_gradient(without_opposite_pairs, logits, labels)
        values.append([float(ours[0]), float(original[0])])
        distances.append(float((ours[1] - original[1]).norm() / ours[1].norm()))
    ours, original = np.mean(values, axis=0)
    assert round(100 * (ours - original) / ours, 1) == 1.3
    assert round(100 * np.mean(distances)) == 13
