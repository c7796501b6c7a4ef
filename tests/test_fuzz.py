"""Hostile calls end in a finite value, or in an error that names argument, value and mend.

``MMSEG_RMI_FUZZ=2000`` makes as many calls of each kind as it says, in the place of 200.
"""

import math
import os
import re
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmseg_rmi.decode_heads import DeepLabV3PlusHead, RMIASPPHead
from mmseg_rmi.losses import AffinityFieldLoss, RMILoss, SigmoidCrossEntropyLoss
from mmseg_rmi.metrics import boundary_iou, region_scores, trimap_iou

DEFAULT = 200
CALLS = int(os.environ.get('MMSEG_RMI_FUZZ', DEFAULT))
fuzz = settings(
    max_examples=CALLS,
    suppress_health_check=list(HealthCheck),
    derandomize=CALLS <= DEFAULT,
    database=None,
    deadline=None,
    phases=[Phase.generate],
)

FLOATING = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
INTEGER = [torch.int64, torch.uint8, torch.int8, torch.int16, torch.int32]
OTHER = [torch.bool, torch.complex64]
IGNORED = [255, 255, 0, 1, -1, -100, 256, 2**31, -(2**40), None, '255', 1.5, True]
NUMBERS = [0, 1, 2, 0.5, 1e-9, -1, 11, math.nan, math.inf, 10**400, None, '3', True, [1]]


def rarely(draw: st.DrawFn, hostile: st.SearchStrategy, usual: Any) -> Any:
    """What is hostile in one call of four, else what is usual."""
    return draw(hostile) if draw(st.integers(0, 3)) == 0 else usual


def lay_out(draw: st.DrawFn, tensor: torch.Tensor) -> torch.Tensor:
    """The same tensor, or one like it, with other strides."""
    way = draw(st.sampled_from(['as it is', 'transposed', 'last', 'sliced', 'expanded']))
    if way == 'transposed' and tensor.dim() >= 2:
        return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)
    if way == 'last' and tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    if way == 'sliced' and tensor.dim():
        return torch.stack([tensor, tensor], dim=-1)[..., 0]
    if way == 'expanded' and tensor.dim() and len(tensor):
        return tensor[:1].expand_as(tensor)
    return tensor


@st.composite
def logits_and_labels(draw: st.DrawFn) -> tuple[Any, Any]:
    """Logits and labels of which anything may be wrong."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    side = st.sampled_from([24, 17, 13, 8, 5, 1])
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(side), draw(side))
    dims = st.lists(st.sampled_from([0, 1, 2, 3, 24]), min_size=0, max_size=5).map(tuple)
    seen = rarely(draw, dims, shape)
    contrast = draw(st.sampled_from([0.0, 1.0, 1.0, 100.0, 3e4, math.inf, math.nan]))
    dtype = rarely(draw, st.sampled_from([*OTHER, *INTEGER, *FLOATING]), torch.float32)
    logits = (torch.randn(seen, generator=generator) * contrast).to(dtype)

    classes = max(shape[1], 2)
    maps = rarely(draw, dims, (shape[0], *shape[2:]))
    lowest, highest = rarely(
        draw,
        st.sampled_from([(0, 256), (-3, 3), (255, 256), (2**31, 2**31 + 3), (2**32, 2**32 + 2)]),
        (0, classes),
    )
    labels = torch.randint(lowest, highest, maps, generator=generator)
    kinds = st.sampled_from([*INTEGER, *INTEGER, *OTHER, torch.float32])
    labels = labels.to(rarely(draw, kinds, torch.int64))
    wrong = st.sampled_from([None, [[1]], 'labels', 3])
    return (
        rarely(draw, wrong, lay_out(draw, logits))
        if draw(st.booleans())
        else lay_out(draw, logits),
        rarely(draw, wrong, lay_out(draw, labels))
        if draw(st.booleans())
        else lay_out(draw, labels),
    )


@st.composite
def weights(draw: st.DrawFn, labels: Any) -> Any:
    if not isinstance(labels, torch.Tensor):
        return None
    shape = rarely(draw, st.sampled_from([(), (1,), (2, 3)]), tuple(labels.shape))
    weight = torch.ones(shape) * draw(st.sampled_from([1.0, 0.0, 5.0]))
    return weight.to(rarely(draw, st.sampled_from([*OTHER, *INTEGER, *FLOATING]), torch.float32))


@st.composite
def of_numbers(draw: st.DrawFn, **choices: Any) -> dict[str, Any]:
    """Up to three of these arguments, each from its choices or any hostile value."""
    names = draw(st.lists(st.sampled_from(sorted(choices)), max_size=3, unique=True))
    return {name: draw(st.sampled_from([*choices[name] * 2, *NUMBERS])) for name in names}


COMMON = dict(loss_weight=[1.0, 2.0], loss_name=['loss_x', 'x'], ignore_index=[255, 0, None, 2**31])
LOSSES = {
    RMILoss: of_numbers(
        region_size=[1, 2, 3],
        downsample=['avg', 'max', 'interp', 'min'],
        downsample_factor=[1, 2, 4, (1, 2), []],
        loss_lambda=[0.0, 0.5, 1.0],
        covariance=['sum', 'mean', 'relative', 'max'],
        ridge=[5e-4, 1e-6],
        ignored=['zero', 'exclude', 'keep'],
        nonnegative=[True, False],
        pixel_term=['bce', 'ce', 'dice'],
        activation=['sigmoid', 'softmax', 'relu'],
        impl=['auto', 'reference', 'torch', 'triton', 'cuda'],
        class_weight=[[1.0, 2.0], (1.0, 0.0, 3.0), 'missing.npy'],
        sigma=[1],
        **COMMON,
    ),
    SigmoidCrossEntropyLoss: of_numbers(
        class_weight=[[1.0, 2.0], (1.0, 0.0, 3.0), 'missing.npy'], use_sigmoid=[True], **COMMON
    ),
    AffinityFieldLoss: of_numbers(
        sizes=[(1,), (1, 2)],
        adaptive=[True, False],
        margin=[3.0],
        downsample_factor=[1, 2, 8],
        decay_base=[20.0],
        **COMMON,
    ),
}


def outcome(call: Any, names: set[str], finite: bool = True) -> Any:
    """Return what a call returns; an error must be a good one.

    Args:
        call: without arguments.
        names: of which the message of an error must hold one.
        finite: whether what comes out must be finite.
    """
    try:
        value = call()
    except (TypeError, ValueError) as error:
        said = str(error)
        assert any(re.search(rf'\b{name}\b', said) for name in names), said
        assert len(said) > 20, said
        return None
    except RuntimeError as error:
        raise AssertionError(f'not an error for users: {error}') from error
    if finite and isinstance(value, torch.Tensor):
        assert value.isfinite().all()
    return value


def is_finite(*tensors: Any) -> bool:
    return all(isinstance(each, torch.Tensor) and bool(each.isfinite().all()) for each in tensors)


def is_known(labels: torch.Tensor, classes: int, ignore_index: int | None) -> bool:
    values = set(labels.flatten().tolist())
    return all(0 <= value < max(classes, 2) or value == ignore_index for value in values)


@pytest.mark.parametrize('kind', LOSSES, ids=lambda kind: kind.__name__)
def test_a_loss_is_finite_or_says_what_is_wrong(kind):
    @fuzz
    @given(st.data())
    def check(data):
        arguments = data.draw(LOSSES[kind])
        loss = outcome(lambda: kind(**arguments), set(arguments))
        if loss is None:
            return
        logits, labels = data.draw(logits_and_labels())
        weight = data.draw(weights(labels)) if data.draw(st.booleans()) else None
        ignore_index = data.draw(st.sampled_from([*IGNORED, ...]))
        names = {'logits', 'labels', 'weight', 'ignore_index', *arguments, 'sizes', 'region_size'}
        if isinstance(logits, torch.Tensor) and logits.is_floating_point():
            logits.requires_grad_()
        value = outcome(
            lambda: loss(logits, labels, weight=weight, ignore_index=ignore_index),
            names,
            finite=is_finite(logits),
        )
        if value is None:
            return
        ignored = loss.ignore_index if ignore_index is ... else ignore_index
        assert is_known(labels, logits.shape[1], ignored)
        value.backward()
        assert logits.grad.isfinite().all() == is_finite(logits)

    check()


@fuzz
@given(st.data())
def test_a_streamed_head_trains_or_says_what_is_wrong(data):
    ignore_index = data.draw(st.sampled_from([255, 255, None, -1, 0]))
    classes = data.draw(st.integers(2, 3))
    head = RMIASPPHead(
        in_channels=3, channels=2, num_classes=classes, dilations=(1,), ignore_index=ignore_index
    )
    _, labels = data.draw(logits_and_labels())
    if not isinstance(labels, torch.Tensor) or labels.dim() != 3:
        return
    logits = torch.randn(len(labels), classes, 6, 6, requires_grad=True)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=each[None])) for each in labels]
    if not samples:
        return
    losses = outcome(
        lambda: head.loss_by_feat(logits, samples), {'labels', 'logits', 'region_size'}
    )
    if losses is not None:
        assert all(value.isfinite() for value in losses.values())
        assert is_known(labels, classes, ignore_index)


HEAD = of_numbers(
    in_channels=[3],
    channels=[4],
    num_classes=[2, 3],
    c1_in_channels=[3],
    c1_channels=[2],
    dilations=[(1,), (1, 2), 1, ()],
).filter(lambda arguments: not isinstance(arguments.get('in_channels'), list))


@fuzz
@given(HEAD)
def test_a_head_is_built_or_says_what_is_wrong(arguments):
    usual = dict(in_channels=3, channels=4, c1_in_channels=3, c1_channels=2, num_classes=2)
    head = outcome(lambda: DeepLabV3PlusHead(**{**usual, **arguments}), set(arguments))
    if head is not None:
        low_level = torch.zeros(1, arguments.get('c1_in_channels', 3), 4, 4)
        features = torch.zeros(1, arguments.get('in_channels', 3), 2, 2)
        assert head.eval()([low_level, features]).isfinite().all()


METRICS = {
    boundary_iou: of_numbers(dilation_ratio=[0.02, 0.5], num_classes=[2, 3]),
    trimap_iou: of_numbers(widths=[[1], (1, 3), [3, 1], []], num_classes=[2, 3]),
}


@pytest.mark.parametrize('metric', METRICS, ids=lambda metric: metric.__name__)
def test_a_metric_lies_between_0_and_1_or_says_what_is_wrong(metric):
    @fuzz
    @given(st.data())
    def check(data):
        arguments = {'num_classes': 3, **data.draw(METRICS[metric])}
        (_, predictions), (_, labels) = (
            data.draw(logits_and_labels()),
            data.draw(logits_and_labels()),
        )
        ignore_index = data.draw(st.sampled_from(IGNORED))
        names = {'predictions?', 'labels?', 'ignore_index', *arguments}
        call = lambda: metric(predictions, labels, **arguments, ignore_index=ignore_index)  # noqa: E731
        value = outcome(call, names, finite=False)
        if value is not None:
            value = value[~value.isnan()]  # of classes that are not there
            assert ((value >= 0) & (value <= 1)).all()

    check()


@fuzz
@given(logits_and_labels(), st.sampled_from(IGNORED))
def test_region_scores_lie_between_0_and_1_or_say_what_is_wrong(drawn, ignore_index):
    probabilities, labels = drawn
    if isinstance(probabilities, torch.Tensor) and probabilities.is_floating_point():
        probabilities = probabilities.float().sigmoid()
    names = {'probabilities', 'logits', 'labels', 'ignore_index', 'region_size'}
    call = lambda: region_scores(probabilities, labels, ignore_index=ignore_index)  # noqa: E731
    value = outcome(call, names, finite=False)
    if value is not None and is_finite(probabilities):
        value = value[~value.isnan()]
        assert ((value >= 0) & (value <= 1)).all()
