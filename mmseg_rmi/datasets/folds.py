"""Folds of a data set: which images are held out, and which are trained on."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from mmseg_rmi.utils.checks import check_integer

T = TypeVar('T')


def take_fold(items: Sequence[T], fold: int, num_folds: int, held_out: bool) -> list[T]:
    """Take one of ``num_folds`` stretches of a sequence, or all but that one.

    Stretches, rather than items at random: neighbours in a drive or in a stack of slices look
    alike, and would be trained on and scored.

    Raises:
        ValueError: there is no such fold, or there are fewer items than folds.
        TypeError: ``fold`` or ``num_folds`` is no integer.

    Example:
        >>> take_fold('abcde', 1, 3, held_out=True), take_fold('abcde', 1, 3, held_out=False)
        (['c', 'd'], ['a', 'b', 'e'])
    """
    check_integer('num_folds', num_folds, 2)
    check_integer('fold', fold, 0, num_folds - 1)
    if len(items) < num_folds:
        raise ValueError(f'{len(items)} image(s) are too few for {num_folds} folds')
    inside = set(np.array_split(np.arange(len(items)), num_folds)[fold].tolist())
    return [item for i, item in enumerate(items) if (i in inside) == held_out]
