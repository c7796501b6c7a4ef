"""The implementation of the loss for a GPU: kernels written in Triton.

:mod:`.support` tells what they take on, :mod:`.operators` makes both passes operators of torch,
:mod:`.launch` reads top to bottom as the loss is computed, with the sizes of :mod:`.plan`, and
:mod:`.kernels` holds what it launches. Triton itself is imported with the first loss that needs it,
which on every device a small one precedes (:mod:`.trial`).
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from mmseg_rmi.functional.contract import Normalizers, Parameters, RMITerms
from mmseg_rmi.functional.scales import split_scales, sum_scales
from mmseg_rmi.functional.triton.support import missing_compiler, unsupported_reason

__all__ = ['missing_compiler', 'rmi_terms', 'unsupported_reason']


def rmi_terms(
    logits: Tensor,
    labels: Tensor,
    pixel_weight: Tensor | None,
    class_weight: Tensor | None,
    normalizers: Normalizers,
    parameters: Parameters,
) -> RMITerms:
    """Compute the loss, see :func:`mmseg_rmi.functional.reference.rmi_terms`.

    Kernels know one scale: of several, each has a loss and a gradient of its own, which add up.

    Raises:
        RuntimeError: in a backward pass with ``create_graph=True``.
    """
    from mmseg_rmi.functional.triton import operators  # imports triton

    tensors = (logits, labels, pixel_weight, class_weight, normalizers)
    one_scale = replace(parameters, downsample_factors=None)
    return sum_scales(
        (weight, operators.rmi_terms(*tensors, replace(one_scale, settings=settings)))
        for weight, settings in split_scales(parameters)
    )
