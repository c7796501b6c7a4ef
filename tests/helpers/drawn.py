"""How hypothesis draws settings, and batches that they can be computed of."""

import itertools
from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from helpers.batches import make_batch
from mmseg_rmi.functional import RMISettings
from mmseg_rmi.functional.downsampling import pooled_side

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
RIDGES = (1e-9, 1e-6, 5e-4, 1.0)


@st.composite
def settings(draw: st.DrawFn, ridges: tuple[float, ...] = RIDGES) -> RMISettings:
    """Any settings, with regions of up to 4 x 4 and cells of up to 5 x 5."""
    drawn = dict(
        region_size=draw(st.integers(1, 4)),
        downsample=draw(st.sampled_from(['avg', 'max', 'interp'])),
        downsample_factor=draw(st.integers(1, 5)),
        loss_lambda=draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])),
        covariance=draw(st.sampled_from(['sum', 'mean', 'relative'])),
        ridge=draw(st.sampled_from(ridges)),
        ignored=draw(st.sampled_from(['zero', 'exclude'])),
        nonnegative=draw(st.booleans()),
        pixel_term=draw(st.sampled_from(['bce', 'bce', 'ce'])),
        activation=draw(st.sampled_from(['sigmoid', 'sigmoid', 'softmax'])),
    )
    if drawn['downsample'] == 'interp':
        drawn['ignored'] = 'zero'
    return RMISettings(**drawn)


class Batch(NamedTuple):
    logits: Tensor
    labels: Tensor
    ignore_index: int
    pixel_weight: Tensor | None
    class_weight: Tensor | None = None


@st.composite
def batches(
    draw: st.DrawFn,
    settings: RMISettings,
    dtype: torch.dtype = torch.float64,
    largest: int = 130,
) -> Batch:
    """Batches of one region and more, of 1 to ``largest`` classes, every kind of void."""
    height, width = (least_side(settings) + draw(st.integers(0, 20)) for _ in range(2))
    void = draw(st.sampled_from(['none', 'patches', 'an image', 'all', 'label 0', 'label -1']))
    seed = draw(st.integers(0, 999))
    softmax = settings.pixel_term == 'ce' or settings.activation == 'softmax'
    numbers = [n for n in (1, 2, 3, 4, 61, 130) if softmax < n <= largest]
    classes = draw(st.sampled_from(numbers))
    logits, labels = make_batch(
        images=draw(st.integers(1, 3)),
        classes=classes,
        height=height,
        width=width,
        void=void != 'none',
        contrast=draw(st.sampled_from([0.1, 2.0, 8.0])),
        seed=seed,
    )
    ignore_index = {'label 0': 0, 'label -1': -1}.get(void, 255)
    labels[labels == 255] = ignore_index
    if void in ('an image', 'all'):
        labels[slice(1) if void == 'an image' else slice(None)] = ignore_index
    weight = None
    if draw(st.booleans()):
        weight = torch.rand(labels.shape, generator=torch.Generator().manual_seed(seed))
    class_weight = draw(st.sampled_from([None, torch.linspace(2, 0, classes)]))  # one class: 2
    return Batch(logits.to(dtype), labels, ignore_index, weight, class_weight)


def least_side(settings: RMISettings) -> int:
    """Side of the smallest image that holds a region."""
    method, factor = settings.downsample, settings.downsample_factor
    return next(
        side
        for side in itertools.count(1)
        if pooled_side(side, method, factor) >= settings.region_size
    )
