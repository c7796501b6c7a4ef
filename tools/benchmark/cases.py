"""Shapes that losses are measured on, and random inputs of these shapes."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


@dataclass(frozen=True)
class Case:
    """One shape of inputs.

    Args:
        stage: what is measured: a ``'loss'`` of given logits, the loss stage of a ``'head'``, which
            upsamples them first, or a whole training ``'step'``.
        batch: images.
        classes: C.
        side: of the labels.
        present: classes that each image holds.
        low_side: of the logits that a head upsamples.
        dtype: of the logits; ``'bfloat16'`` runs under autocast, as mixed precision does.
        downsample_factor: DF of RMI.
        region_size: R of RMI.
        depth: of the ResNet of a training step.
        sweep: the field that varies from case to case, if the case is one of a series.
    """

    stage: str = 'loss'
    batch: int = 4
    classes: int = 21
    side: int = 513
    present: int = 21
    low_side: int = 0
    dtype: str = 'float32'
    downsample_factor: int = 4
    region_size: int = 3
    depth: int = 18
    sweep: str = ''

    @property
    def title(self) -> str:
        """One line for tables."""
        half = ', bf16 autocast' if self.dtype == 'bfloat16' else ''
        if self.stage == 'step':
            return (
                f'Training step of DeepLabv3+ ResNet-{self.depth}, '
                f'{self.batch} images of {self.side} x {self.side}{half}'
            )
        if self.stage == 'head':
            shape = f'[{self.batch}, {self.classes}, {self.low_side}, {self.low_side}]'
            return f"A head's loss stage, {shape} to {self.side} x {self.side}{half}"
        shape = f'[{self.batch}, {self.classes}, {self.side}, {self.side}]'
        present = 'all' if self.present == self.classes else str(self.present)
        settings = f'DF {self.downsample_factor}, R {self.region_size}'
        settings = '' if settings == 'DF 4, R 3' else f', {settings}'
        return f'Logits {shape}{half}, {present} classes present{settings}'

    @property
    def logit_bytes(self) -> int:
        """Size of the logits at full resolution."""
        return self.batch * self.classes * self.side**2 * DTYPES[self.dtype].itemsize

    @property
    def input_bytes(self) -> int:
        """Size of the logits as they are given: at low resolution to a head."""
        side = self.low_side or self.side
        return self.batch * self.classes * side**2 * DTYPES[self.dtype].itemsize

    def shrunk(self) -> 'Case':
        """Make a case that takes no time but goes the same way."""
        classes = min(self.classes, 5)
        return replace(
            self,
            batch=2,
            classes=classes,
            present=min(self.present, classes),
            side=64 if self.stage == 'step' else 33,
            low_side=9 if self.low_side else 0,
            depth=18,
        )


def sweep(base: Case, field: str, *values: Any) -> list[Case]:
    """Vary one field; with ``classes``, all of them stay present."""
    cases = [replace(base, **{field: value}, sweep=field) for value in values]
    return [replace(c, present=c.classes) if field == 'classes' else c for c in cases]


LOGITS = Case()
CPU_CASES = {
    'losses': [LOGITS, replace(LOGITS, present=3)],
    'heads': [
        Case('head', batch=16, low_side=129, present=3),
        Case('head', batch=4, classes=150, side=512, low_side=128, present=10),
    ],
    'step': [Case('step', present=3)],
    'sweeps': [
        *sweep(LOGITS, 'batch', 1, 2, 4, 8),
        *sweep(LOGITS, 'side', 129, 257, 513, 769),
        *sweep(replace(LOGITS, batch=2), 'classes', 2, 11, 21, 60, 150),
        *sweep(LOGITS, 'present', 1, 3, 10, 21),
        *sweep(LOGITS, 'downsample_factor', 1, 2, 4, 6),
        *sweep(LOGITS, 'region_size', 1, 2, 3, 5),
    ],
}

GPU_LOGITS = Case(batch=16)
GPU_HEADS = [
    Case('head', batch=16, low_side=129, present=3),
    Case('head', batch=4, classes=150, side=512, low_side=128, present=10),
]
GPU_CASES = {
    'losses': [
        GPU_LOGITS,
        replace(GPU_LOGITS, present=3),
        replace(GPU_LOGITS, dtype='bfloat16'),
        Case(batch=4, classes=150, side=512, present=10),
    ],
    'heads': [*GPU_HEADS, *(replace(case, dtype='bfloat16') for case in GPU_HEADS)],
    'step': [Case('step', batch=16, present=3, dtype='bfloat16', depth=50)],
    'sweeps': [
        *sweep(GPU_LOGITS, 'batch', 1, 4, 16, 32),
        *sweep(GPU_LOGITS, 'side', 257, 513, 769, 1025),
        *sweep(replace(GPU_LOGITS, batch=4), 'classes', 2, 11, 21, 60, 150),
        *sweep(GPU_LOGITS, 'present', 1, 3, 10, 21),
    ],
}


def make_labels(case: Case, device: str) -> Tensor:
    """Draw blobs of about equal size, ``present`` classes in every image."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(case.batch, case.present, 9, 9, generator=generator)
    labels = [
        F.interpolate(each[None], size=(case.side, case.side), mode='bilinear').argmax(dim=1)
        for each in noise
    ]
    return torch.cat(labels).to(device)


def make_logits(case: Case, device: str) -> Tensor:
    """Draw standard normal logits, which ask for a gradient."""
    side = case.low_side or case.side
    generator = torch.Generator(device).manual_seed(1)
    shape = (case.batch, case.classes, side, side)
    logits = torch.randn(shape, generator=generator, device=device)
    return logits.to(DTYPES[case.dtype]).requires_grad_()
