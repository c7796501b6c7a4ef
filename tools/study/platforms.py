"""The devices that cells are computed on, and how they make use of them.

Results of two platforms are never paired, nor averaged: another card rounds in another way, and so
do other types and images.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

PACKED = 'packed.json'  # in a data folder whose images are compressed anew, see `pack`
PRECISIONS = ('float32', 'tf32', 'bf16')
MEMORY_OF_CELL = 6 * 2**30  # of the card, and more than any cell of the plan takes


@dataclass(frozen=True)
class Platform:
    """A device that computes cells.

    Args:
        device: ``'cpu'``, or the name of the card.
        precision: of what cells compute unless their plan says otherwise.
        packed: whether images are compressed anew.
    """

    device: str = 'cpu'
    precision: str = 'float32'
    packed: bool = False

    @classmethod
    def here(cls, device: str, precision: str | None, data: Path) -> 'Platform':
        """Name the platform of this machine.

        Raises:
            ValueError: there is no card, or the precision does not go with the device.
        """
        packed = (data / PACKED).is_file()
        if device == 'cpu':
            if precision == 'tf32':
                raise ValueError('--precision tf32 is of NVIDIA cards: use float32 or bf16 here')
            return cls('cpu', precision or 'float32', packed)
        if not torch.cuda.is_available():
            raise ValueError('--device cuda needs a card that torch sees, and there is none')
        return cls(torch.cuda.get_device_name(0), precision or 'tf32', packed)

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> 'Platform':
        """Read the platform of a result; those of before there were several ran on CPUs."""
        return cls(
            entry.get('device', 'cpu'),
            entry.get('precision', 'float32'),
            entry.get('packed', False),
        )

    @property
    def is_cpu(self) -> bool:
        return self.device == 'cpu'

    @property
    def options(self) -> dict[str, Any]:
        """Collect the settings of a config that the precision asks for."""
        return {'optim_wrapper.type': 'AutocastOptimWrapper'} if self.precision == 'bf16' else {}

    @property
    def variables(self) -> dict[str, str]:
        """Collect the environment of the processes of a cell."""
        if self.is_cpu:
            return {'CUDA_VISIBLE_DEVICES': ''}
        if self.precision == 'tf32':
            return {'TORCH_ALLOW_TF32_CUBLAS_OVERRIDE': '1'}  # convolutions take it as it is
        return {'NVIDIA_TF32_OVERRIDE': '0'}

    @property
    def folder(self) -> str:
        """Name the folder of its trainings, so that those of two platforms lie side by side."""
        return re.sub(r'[^\w.]+', '-', str(self)).lower()

    def __str__(self) -> str:
        parts = [
            '' if self.is_cpu else self.device,
            '' if self.precision == 'float32' else self.precision,
            'packed images' if self.packed else '',
        ]
        return ', '.join(part for part in parts if part)


def free_cores() -> list[int]:
    """List the cores that this thread, and what it starts, may run on."""
    if hasattr(os, 'sched_getaffinity'):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def fitting_jobs(platform: Platform) -> int:
    """Count the cells that run well side by side: one on CPUs; on a card one for two cores."""
    if platform.is_cpu:
        return 1
    free, _ = torch.cuda.mem_get_info()
    return max(1, min(len(free_cores()) // 2, free // MEMORY_OF_CELL))


def loading_options(platform: Platform, jobs: int) -> dict[str, Any]:
    """Collect the settings of a config that load images as fast as the platform trains.

    A CPU is held up by its steps, of which reading images is a fiftieth. A card waits for images,
    so they are decoded once, and each cell has workers for the cores that it has.
    """
    if platform.is_cpu:
        return {}
    return {
        'train_dataloader.num_workers': max(1, len(free_cores()) // jobs - 1),
        'train_dataloader.pin_memory': True,
        'train_dataloader.dataset.pipeline.0.type': 'LoadKeptImageFromFile',
        'train_dataloader.dataset.pipeline.1.type': 'LoadKeptAnnotations',
        'default_hooks.images.type': 'KeepImagesHook',
    }
