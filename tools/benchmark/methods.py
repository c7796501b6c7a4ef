"""The losses that are compared, as workloads that can be timed.

A method is added by one line of `RMI` or of `_loss_methods`.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

import mmseg_rmi  # noqa: F401 (registers the losses and heads)
from mmseg_rmi.functional import RMISettings, triton
from mmseg_rmi.functional.contract import Parameters
from mmseg_rmi.functional.rmi_loss import find_implementation
from tools.benchmark.cases import DTYPES, Case, make_labels, make_logits
from tools.benchmark.naive_rmi import naive_rmi

Loss = Callable[[Tensor, Tensor], Tensor]
WITH_CE = 'CE + region term'
SCALES = 'RMI, DF 2, 4 and 8'
# By name, how `RMILoss` is built; the first is what users get.
RMI: dict[str, dict[str, Any]] = {
    'RMI': {},
    WITH_CE: dict(pixel_term='ce', loss_lambda=2 / 3, loss_weight=1.5),
    SCALES: dict(downsample_factor=(2, 4, 8)),
    'RMI, torch': dict(impl='torch'),
    'RMI, reference': dict(impl='reference'),
}
STREAMED = 'RMI, streamed'
RELEASED = 'RMI, released code'
OTHERS = ('CE + affinity', 'CE + Dice', 'Lovasz')  # of this project; of MMSegmentation


class Unavailable(Exception):
    """A machine lacks what a measurement or a check takes; that is no failure."""


@dataclass
class Workload:
    """A forward pass that can be repeated, and what its backward pass leaves gradients on.

    Args:
        forward: returns the scalar to go backward from.
        leaves: what the gradients are of.
    """

    forward: Callable[[], Tensor]
    leaves: list[Tensor]

    def clear(self) -> None:
        """Drop the gradients of the last call, so that the next makes its own."""
        for leaf in self.leaves:
            leaf.grad = None


def method_names(case: Case) -> list[str]:
    """Name the methods that a case can be measured with, cross entropy first."""
    if case.stage == 'loss':
        return list(_loss_methods(case))
    return ['CE', 'RMI', STREAMED]


def build_workloads(
    case: Case, device: str, names: Iterable[str]
) -> dict[str, Callable[[], Workload]]:
    """Prepare functions that build a workload each, all on the same inputs.

    They are built one by one, so that a method that fails does not take the others with it.
    """
    if case.stage == 'step':
        return {name: functools.partial(_training_step, case, device, name) for name in names}
    logits, labels = make_logits(case, device), make_labels(case, device)
    if case.stage == 'head':
        samples = [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]
        return {name: functools.partial(_head_stage, case, name, logits, samples) for name in names}
    losses = _loss_methods(case)
    return {
        name: functools.partial(_loss_workload, case, losses[name], logits, labels)
        for name in names
    }


def chosen_implementation(device: str) -> str:
    """Name the implementation that RMI has on a device by default."""
    logits = torch.zeros(1, 2, 8, 8, device=device)
    chosen = find_implementation('auto', logits, Parameters(RMISettings()))
    return 'triton' if chosen is triton.rmi_terms else 'torch'


def _loss_methods(case: Case) -> dict[str, Callable[[], Loss]]:
    """Functions that build a loss each, by name."""
    rmi = dict(
        type='RMILoss', region_size=case.region_size, downsample_factor=case.downsample_factor
    )
    return {
        'CE': lambda: _cross_entropy,
        **{name: functools.partial(MODELS.build, {**rmi, **given}) for name, given in RMI.items()},
        'CE, compiled': _compile_cross_entropy,
        'CE + affinity': functools.partial(MODELS.build, dict(type='AffinityFieldLoss')),
        'CE + Dice': _build_dice,
        'Lovasz': lambda: MODELS.build(dict(type='LovaszLoss', reduction='none')),
        RELEASED: lambda: naive_rmi,
    }


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, ignore_index=255)


def _compile_cross_entropy() -> Loss:
    if reason := triton.missing_compiler():
        raise Unavailable(f'torch.compile: {reason}')
    torch._dynamo.reset()  # else other shapes count as recompilations, of which few are allowed
    return torch.compile(_cross_entropy, dynamic=False, fullgraph=True)


def _build_dice() -> Loss:
    dice = MODELS.build(dict(type='DiceLoss'))
    return lambda logits, labels: _cross_entropy(logits, labels) + dice(logits, labels)


def _autocast(case: Case, device: str) -> contextlib.AbstractContextManager:
    return torch.autocast(device, torch.bfloat16, enabled=DTYPES[case.dtype] == torch.bfloat16)


def _loss_workload(
    case: Case, build: Callable[[], Loss], logits: Tensor, labels: Tensor
) -> Workload:
    loss = build()

    def forward() -> Tensor:
        with _autocast(case, logits.device.type):
            return loss(logits, labels)

    return Workload(forward, [logits])


def _head_stage(case: Case, name: str, logits: Tensor, samples: list[SegDataSample]) -> Workload:
    head = MODELS.build(
        dict(in_channels=8, channels=8, num_classes=case.classes, **_head(name, 'ASPPHead'))
    )

    def forward() -> Tensor:
        with _autocast(case, logits.device.type):
            return _sum_losses(head.loss_by_feat(logits, samples))

    return Workload(forward, [logits])


def _head(name: str, kind: str) -> dict[str, Any]:
    """Type and loss of a head."""
    if name == STREAMED:
        return dict(type=f'RMI{kind}')
    loss = dict(type='CrossEntropyLoss') if name == 'CE' else dict(type='RMILoss')
    return dict(type=kind, loss_decode=loss)


def _training_step(case: Case, device: str, name: str) -> Workload:
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True  # as the configs have it
    model = MODELS.build(_segmentor(case, name)).to(device).train()
    images = torch.randn(case.batch, 3, case.side, case.side, device=device)
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in make_labels(case, device)
    ]

    def forward() -> Tensor:
        with _autocast(case, device):
            return _sum_losses(model.loss(images, samples))

    return Workload(forward, list(model.parameters()))


def _segmentor(case: Case, name: str) -> dict[str, Any]:
    """Config of DeepLabv3+ as MMSegmentation has it, with the head and loss of a method."""
    deep = case.depth >= 50
    return dict(
        type='EncoderDecoder',
        backbone=dict(
            type='ResNetV1c',
            depth=case.depth,
            out_indices=(0, 1, 2, 3),
            strides=(1, 2, 2, 1),
            dilations=(1, 1, 1, 2),
            norm_cfg=dict(type='BN'),
        ),
        decode_head=dict(
            in_channels=2048 if deep else 512,
            in_index=3,
            channels=512 if deep else 128,
            c1_in_channels=256 if deep else 64,
            c1_channels=48 if deep else 12,
            dilations=(1, 6, 12, 18),
            num_classes=case.classes,
            norm_cfg=dict(type='BN'),
            **_head(name, 'DepthwiseSeparableASPPHead'),
        ),
    )


def _sum_losses(values: dict[str, Tensor]) -> Tensor:
    return torch.stack([value for name, value in values.items() if 'loss' in name]).sum()
