"""The Region Mutual Information loss as a function: checks, and the choice of an implementation.

``'reference'`` (:mod:`.reference`) is the paper's formulas under autograd, the one to read;
``'torch'`` (:mod:`.blocked`) computes value and gradient in one pass over blocks of maps;
``'triton'`` (:mod:`.triton`) does so in kernels of its own on a GPU. All give the same numbers, to
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmseg_rmi.functional import blocked, reference, triton
from mmseg_rmi.functional.contract import (
    Normalizers,
    Parameters,
    RMITerms,
    batch_normalizers,
    default_region_dtype,
)
from mmseg_rmi.functional.regions import check_region_fits
from mmseg_rmi.functional.scales import as_factors
from mmseg_rmi.functional.settings import RMISettings
from mmseg_rmi.functional.shapes import check_shapes
from mmseg_rmi.utils.checks import check_choice
from mmseg_rmi.utils.labels import widen_labels
from mmseg_rmi.utils.tracing import full_precision, is_transformed, needs_plain_operations

IMPLEMENTATIONS = ('auto', 'reference', 'torch', 'triton')


def rmi_loss(
    logits: Tensor,
    labels: Tensor,
    settings: RMISettings | None = None,
    *,
    ignore_index: int = 255,
    pixel_weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    normalizers: Normalizers | None = None,
    downsample_factors: Sequence[int] | None = None,
    region_dtype: torch.dtype | None = None,
    impl: str = 'auto',
) -> Tensor:
    """Compute ``lambda * pixel term + (1 - lambda) / B * sum_b sum_c -I_l`` (Eq. 16).

    Args:
        logits: ``B x C x H x W``, float16, bfloat16, float32 or float64; C = 1 is a binary map.
        labels: ``B x H x W``, integer, in ``[0, C)`` (``{0, 1}`` if C = 1) or ``ignore_index``;
            other values are not checked.
        settings: the constants of the loss; those of the released code by default.
        ignore_index: label of pixels that do not count.
        pixel_weight: ``B x H x W``, scales the pixel-wise term.
        class_weight: ``C``, scales each class's part of the pixel-wise term.
        normalizers: divisors of the two sums; those of this batch by default.
        downsample_factors: DF of each scale, such as ``(2, 4, 8)``, over which the region term is
            the mean; the one of the settings by default.
        region_dtype: precision of all that comes after the downsampling; by default float64 where
            the device has it, the only one that ``'triton'`` takes.
        impl: ``'reference'``, ``'torch'``, ``'triton'``, or ``'auto'``, the fastest that fits:
            ``'reference'`` if a weight requires a gradient, which no other computes.

    Returns:
        Scalar, in nats, of the logits' type, but float32 for half precision.

    Raises:
        ValueError: shapes that do not fit, an empty batch, settings that one channel cannot have,
            maps too small for a region, an ``impl`` that is unknown or cannot compute this.
        RuntimeError: in a backward pass with ``create_graph=True``, unless ``impl='reference'``.

    Source: Zhao et al., "Region Mutual Information Loss for Semantic Segmentation", NeurIPS 2019.

    Example:
        >>> logits = torch.randn(2, 3, 32, 32, requires_grad=True)
        >>> labels = torch.randint(3, (2, 32, 32))
        >>> loss = rmi_loss(logits, labels)
        >>> loss.backward()
        >>> bool(rmi_loss(logits - logits.grad, labels) < loss)
        True
    """
    check_shapes(logits, labels, pixel_weight, class_weight, same_size=True)
    settings, labels = settings or RMISettings(), widen_labels(labels)
    parameters = Parameters(
        settings,
        ignore_index,
        region_dtype=region_dtype or default_region_dtype(logits.device),
        downsample_factors=None if downsample_factors is None else as_factors(downsample_factors),
    )
    weights = (pixel_weight, class_weight)
    rmi_terms = find_implementation(impl, logits, parameters, labels.shape[1:], weights)
    normalizers = normalizers or batch_normalizers(labels, ignore_index)
    with full_precision(logits.device.type):
        return rmi_terms(logits, labels, *weights, normalizers, parameters).total


def streamed_rmi_loss(
    logits: Tensor,
    labels: Tensor,
    settings: RMISettings | None = None,
    *,
    align_corners: bool = False,
    ignore_index: int = 255,
    class_weight: Tensor | None = None,
    normalizers: Normalizers | None = None,
    downsample_factors: Sequence[int] | None = None,
    region_dtype: torch.dtype | None = None,
    impl: str = 'auto',
) -> RMITerms:
    """Compute :func:`rmi_loss` of logits that are still to be upsampled to the labels' size.

    Of logits of full resolution, ``'triton'`` holds none, ``'torch'`` those of a chunk of images
    (one on a CPU, as many as fit its working memory elsewhere), ``'reference'`` those of the batch.

    Args:
        logits: ``B x C x H' x W'``, as of :func:`rmi_loss`; upsampled bilinearly.
        labels: ``B x H x W``, as of :func:`rmi_loss`.
        settings: the constants of the loss.
        align_corners: how logits are upsampled, see :func:`torch.nn.functional.interpolate`.
        ignore_index: label of pixels that do not count.
        class_weight: ``C``, scales each class's part of the pixel-wise term.
        normalizers: divisors of the two sums; those of this batch by default.
        downsample_factors: as of :func:`rmi_loss`.
        region_dtype: as of :func:`rmi_loss`.
        impl: as of :func:`rmi_loss`.

    Returns:
        The loss and its parts, with the mean region score and the number of correct pixels.

    Raises:
        ValueError: as :func:`rmi_loss`.
        RuntimeError: as :func:`rmi_loss`.

    Example:
        >>> logits = torch.randn(2, 3, 8, 8, requires_grad=True)
        >>> terms = streamed_rmi_loss(logits, torch.randint(3, (2, 32, 32)))
        >>> terms.total.backward()
        >>> logits.grad.shape
        torch.Size([2, 3, 8, 8])
    """
    check_shapes(logits, labels, None, class_weight, same_size=False)
    settings, labels = settings or RMISettings(), widen_labels(labels)
    parameters = Parameters(
        settings,
        ignore_index,
        align_corners,
        with_score=True,
        region_dtype=region_dtype or default_region_dtype(logits.device),
        downsample_factors=None if downsample_factors is None else as_factors(downsample_factors),
    )
    rmi_terms = find_implementation(impl, logits, parameters, labels.shape[1:], [class_weight])
    normalizers = normalizers or batch_normalizers(labels, ignore_index)
    with full_precision(logits.device.type):
        return rmi_terms(logits, labels, None, class_weight, normalizers, parameters)


def find_implementation(
    impl: str,
    logits: Tensor,
    parameters: Parameters,
    size: Sequence[int] | None = None,
    weights: Sequence[Tensor | None] = (),
) -> Callable[..., RMITerms]:
    """Return the function that computes the loss of such logits.

    Args:
        impl: as of :func:`rmi_loss`.
        logits: ``B x C x H' x W'``.
        parameters: the constants of the call.
        size: ``(H, W)`` of the labels; that of the logits by default.
        weights: of pixels and classes, which the reference alone differentiates.

    Raises:
        ValueError: settings that one channel cannot have, maps too small for a region, an ``impl``
            that is unknown or cannot compute this; says why.

    Example:
        >>> parameters = Parameters(RMISettings())
        >>> find_implementation('auto', torch.zeros(1, 2, 8, 8), parameters) is blocked.rmi_terms
        True
    """
    check_choice('impl', impl, IMPLEMENTATIONS)
    size = size or logits.shape[2:]
    for scale in parameters.scales:
        check_region_fits(size, scale)
    if logits.shape[1] == 1:
        _refuse_softmax(parameters.settings)
    learns_weights = torch.is_grad_enabled() and any(
        weight is not None and weight.requires_grad for weight in weights
    )
    if impl == 'reference' or (impl == 'auto' and (learns_weights or needs_plain_operations())):
        return reference.rmi_terms
    if learns_weights:
        raise ValueError(
            f'the weight of pixels or classes requires a gradient, which impl={impl!r} does not '
            "compute: detach it, or use impl='reference'"
        )
    if is_transformed():
        raise ValueError(
            f'impl={impl!r} works neither under torch.func nor with forward-mode derivatives: use '
            "impl='auto'"
        )
    if impl == 'torch':
        return blocked.rmi_terms
    reason = triton.unsupported_reason(logits, parameters, size)
    if reason is None:
        return triton.rmi_terms
    if impl == 'triton':
        raise ValueError(f"impl='triton' cannot compute this: {reason}. Use impl='auto'")
    return blocked.rmi_terms


def _refuse_softmax(settings: RMISettings) -> None:
    for name, value in (('pixel_term', settings.pixel_term), ('activation', settings.activation)):
        if value in ('ce', 'softmax'):
            raise ValueError(
                f'{name}={value!r} takes the softmax over at least 2 channels, got 1: let the head '
                "predict both classes, or use pixel_term='bce' and activation='sigmoid'"
            )
