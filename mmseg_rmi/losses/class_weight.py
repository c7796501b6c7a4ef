"""Class weights in every form that MMSegmentation's ``CrossEntropyLoss`` takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmseg_rmi.utils.checks import check_number

ClassWeight = Sequence[float] | np.ndarray | Tensor | str | os.PathLike


def load_class_weight(value: ClassWeight | None) -> Tensor | None:
    """Read one factor per class out of numbers or a file.

    Args:
        value: a list, tuple, one-dimensional array or tensor of at least one number, finite and at
            least 0; or the name of a ``.npy``, ``.json``, ``.yaml`` or ``.pkl`` file that holds
            one. Loading a ``.pkl`` file can run code: use only files that you trust. All formats
            but ``.npy`` need mmengine.

    Returns:
        ``C``, float32, a copy on the CPU; None for None.

    Raises:
        TypeError: not such a list, or an entry that is not a number.
        ValueError: no entry, one that is negative or not finite, 0 for all; an unreadable file.

    Example:
        >>> load_class_weight((1, 0.5))
        tensor([1.0000, 0.5000])
    """
    if value is None:
        return None
    content = _read(os.fspath(value)) if isinstance(value, (str, os.PathLike)) else value
    if isinstance(content, Tensor) and (content.is_meta or content.layout is not torch.strided):
        raise TypeError(
            f'class_weight must be a dense tensor with values, got {content.layout} on '
            f'{content.device}: give the numbers'
        )
    if isinstance(content, (np.ndarray, Tensor)):
        content = content.tolist()
    if not isinstance(content, (list, tuple)):
        raise TypeError(
            f'class_weight must be one number per class (a list, tuple, array or tensor, or a file '
            f'that holds one), got {_shown(value, content)}'
        )
    if not content:
        raise ValueError(
            f'class_weight must hold one number per class, got {_shown(value, content)}: leave it '
            'out (None) to weight all classes equally'
        )
    for entry in content:
        _check_entry(entry)
    weights = torch.tensor(content, dtype=torch.float32, device='cpu')
    if not weights.any():
        raise ValueError(
            f'class_weight must be above 0 for one class at least, got {_shown(value, content)}: '
            'with 0 for all, the pixel-wise term teaches nothing'
        )
    return weights


def _check_entry(entry: Any) -> None:
    check_number('each class_weight', entry)
    if entry < 0:
        raise ValueError(f'class_weight must be at least 0, got {entry}')


def _shown(value: object, content: object) -> str:
    """Format the argument and, for a file, the start of its content."""
    held = repr(content)[:80]
    return f'{value}, which holds {held}' if isinstance(value, (str, os.PathLike)) else held


def _read(filename: str) -> Any:
    try:
        if filename.endswith('.npy'):
            return np.load(filename, allow_pickle=False)
        from mmengine.fileio import load

        return load(filename)
    except Exception as error:  # whatever a reader of one of four formats may raise
        raise ValueError(
            f'class_weight={filename!r} cannot be read ({type(error).__name__}: {error}): name an '
            'existing .npy, .json, .yaml or .pkl file of one number per class, or give the numbers'
        ) from error
