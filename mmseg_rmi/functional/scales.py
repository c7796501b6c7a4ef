"""The region term at several scales: the mean over downsampling factors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce

import torch

from mmseg_rmi.functional.contract import Parameters, RMITerms
from mmseg_rmi.functional.settings import LARGEST_FACTOR, RMISettings
from mmseg_rmi.utils.checks import check_integer


def as_factors(downsample_factor: int | Sequence[int]) -> tuple[int, ...]:
    """Return one or several downsampling factors as a tuple.

    Raises:
        ValueError: a factor is outside of 1 to 4096, or there is none.
        TypeError: a factor is not an integer.

    Example:
        >>> as_factors(4), as_factors([2, 4, 8])
        ((4,), (2, 4, 8))
    """
    if not isinstance(downsample_factor, Sequence):
        downsample_factor = (downsample_factor,)
    for factor in downsample_factor:
        check_integer('downsample_factor', factor, 1, LARGEST_FACTOR)
    if not downsample_factor:
        raise ValueError(
            f'downsample_factor must name at least one factor, got {downsample_factor}'
        )
    return tuple(map(int, downsample_factor))


def split_scales(parameters: Parameters) -> list[tuple[float, RMISettings]]:
    """Split a loss over K downsampling factors into losses of one factor each.

    With P the pixel-wise term and R_k the region term at factor k::

        lambda P + (1 - lambda) / K * sum_k R_k = sum_k w_k (lambda_k P + (1 - lambda_k) R_k)

    P is a part of the first loss alone: ``w_1 = lambda + (1 - lambda) / K``, ``lambda_1 = lambda /
    w_1``, and for the others ``w_k = (1 - lambda) / K``, ``lambda_k = 0``.

    Args:
        parameters: the constants of the call.

    Returns:
        ``w_k`` and the settings of each loss; one if there is no region term.

    Example:
        >>> parameters = Parameters(RMISettings(), downsample_factors=(2, 4))
        >>> [(w, s.downsample_factor, s.loss_lambda) for w, s in split_scales(parameters)]
        [(0.75, 2, 0.6666666666666666), (0.25, 4, 0.0)]
    """
    scales = parameters.scales or [parameters.settings]
    if len(scales) == 1:
        return [(1.0, scales[0])]
    loss_lambda = parameters.settings.loss_lambda
    share = (1 - loss_lambda) / len(scales)
    first = loss_lambda + share
    return [
        (first, replace(scales[0], loss_lambda=loss_lambda / first)),
        *((share, replace(scale, loss_lambda=0.0)) for scale in scales[1:]),
    ]


def sum_scales(scales: Iterable[tuple[float, RMITerms]]) -> RMITerms:
    """Put the losses of :func:`split_scales` together again.

    Args:
        scales: ``w_k`` and the terms of each loss.

    Returns:
        Their weighted sum, and the mean of their scores.

    Example:
        >>> terms = RMITerms(*torch.tensor([2.0, 1.0, 0.5, 7.0]))
        >>> sum_scales([(0.75, terms), (0.25, terms)])
        RMITerms(total=tensor(2.), region=tensor(1.), score=tensor(0.5000), correct=tensor(7.))
    """
    weights, terms = zip(*scales, strict=True)
    if len(terms) == 1:
        return terms[0]
    totals, regions, scores, correct = zip(*terms, strict=True)
    return RMITerms(
        total=reduce(torch.add, [w * total for w, total in zip(weights, totals, strict=True)]),
        region=reduce(torch.add, [w * region for w, region in zip(weights, regions, strict=True)]),
        score=reduce(torch.add, scores) / len(scores),
        correct=correct[0],
    )
