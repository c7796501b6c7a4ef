"""The objective from logits of low resolution, without ever holding a batch of full resolution.

Given the normalisers, Eq. 16 is a sum over images. So each image in turn is up-sampled and visited,
its gradient brought back through the up-sampling, and everything of full resolution dropped.

Shapes: ``B`` images, ``C`` classes, ``H x W`` labels, ``H' x W'`` logits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from mmseg_rmi.functional.gradient_with_value import value_with_gradient
from mmseg_rmi.functional.interpolation import bilinear_adjoint, bilinear_into
from mmseg_rmi.functional.objective import Normalizers
from mmseg_rmi.functional.one_pass import ImageVisitor, visitor_builder
from mmseg_rmi.functional.settings import RMISettings


class StreamedTerms(NamedTuple):
    """What one stream of a batch yields, all scalars.

    Attributes:
        total: both terms; the only one to differentiate.
        region: the region term's share of it.
        score: mean of the region scores of the images' classes, in [0, 1]; 0 where there is none.
        correct: number of valid pixels whose greatest logit is their label's (for one channel:
            whose logit is positive if and only if their label is 1).
    """

    total: Tensor
    region: Tensor
    score: Tensor
    correct: Tensor


def streamed_objective(
    logits: Tensor,
    labels: Tensor,
    settings: RMISettings | None = None,
    *,
    align_corners: bool = False,
    ignore_index: int = 255,
    normalizers: Normalizers | None = None,
    region_dtype: torch.dtype | None = None,
) -> StreamedTerms:
    """:func:`mmseg_rmi.functional.rmi_objective` of bilinearly up-sampled logits, image by image.

    Args:
        logits: ``B x C x H' x W'``, floating point.
        labels: ``B x H x W``, integer, in ``[0, C)`` (``{0, 1}`` if C = 1) or ``ignore_index``.
        settings: the constants of the objective.
        align_corners: how logits are up-sampled, see :func:`torch.nn.functional.interpolate`.
        ignore_index: label of pixels that do not count.
        normalizers: divisors of the two sums; those of this batch by default.
        region_dtype: precision of the region term.

    Raises:
        RuntimeError: when a second derivative is asked for.

    Example:
        >>> logits = torch.randn(2, 3, 8, 8, requires_grad=True)
        >>> terms = streamed_objective(logits, torch.randint(3, (2, 32, 32)))
        >>> terms.total.backward()
        >>> logits.grad.shape
        torch.Size([2, 3, 8, 8])
    """
    build_visitor = visitor_builder(
        logits, labels, settings, ignore_index, normalizers, region_dtype, with_scores=True
    )
    compute = partial(_stream, build_visitor, align_corners)
    return StreamedTerms(*value_with_gradient(compute, logits, labels))


def _stream(
    build_visitor: Callable[[], ImageVisitor],
    align_corners: bool,
    logits: Tensor,
    labels: Tensor,
    gradient: Tensor | None,
) -> StreamedTerms:
    """Sum over the images, one after the other; the gradient by the logits is written if given."""
    visitor = build_visitor()
    # One image's memory for all of them: what is freed in turn, an allocator may not reuse.
    full = logits.new_empty(logits.shape[1], *labels.shape[1:], dtype=visitor.dtype)
    found, correct = [], []
    for image in range(len(labels)):
        bilinear_into(full, logits[image], align_corners)
        correct.append(_count_correct(full, labels[image], visitor.ignore_index))
        into = None if gradient is None else full
        found.append(visitor.visit(full, labels[image], gradient=into))
        if gradient is not None:
            height, width = gradient.shape[2:]
            gradient[image] = bilinear_adjoint(full, (height, width), align_corners)
    region = torch.stack([terms.region for terms in found]).sum()
    total = torch.stack([terms.pixel for terms in found]).sum() + region
    scores = [terms.scores for terms in found if terms.scores is not None]
    score = torch.cat(scores).nanmean().nan_to_num() if scores else torch.zeros_like(region)
    dtype = visitor.dtype
    return StreamedTerms(total.to(dtype), region.to(dtype), score, torch.stack(correct).sum())


def _count_correct(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    prediction = (logits[0] > 0).long() if len(logits) == 1 else logits.argmax(dim=0)
    return ((prediction == labels) & (labels != ignore_index)).sum()
