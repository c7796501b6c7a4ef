"""The Region Mutual Information loss as a module, called as MMSegmentation calls its losses."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import Any

from torch import Tensor

from mmseg_rmi.functional import RMISettings, RMITerms, rmi_loss, streamed_rmi_loss
from mmseg_rmi.functional.rmi_loss import IMPLEMENTATIONS
from mmseg_rmi.functional.scales import as_factors
from mmseg_rmi.losses.base import SegmentationLoss
from mmseg_rmi.losses.class_weight import ClassWeight, load_class_weight
from mmseg_rmi.losses.finiteness import propagate_nonfinite
from mmseg_rmi.losses.inverse_map_watch import InverseMapWatch
from mmseg_rmi.losses.normalization import global_normalizers
from mmseg_rmi.utils.checks import check_choice


class RMILoss(SegmentationLoss):
    """Region Mutual Information loss: ``lambda * BCE + (1 - lambda) * region term`` (Eq. 16).

    It replaces cross entropy, ``loss_decode=dict(type='RMILoss')``; nothing else changes. The
    probabilities are sigmoids, so the prediction is still the argmax of the logits. Values are not
    comparable with those of cross entropy: with the default ridge and lambda, a perfect map is
    near 0.17 per class present, so that images with more classes have larger values.

    Args:
        region_size: side R of the square regions, 1 to 10.
        downsample: how maps are downsampled first: ``'avg'`` or ``'max'`` pooling, or ``'interp'``.
        downsample_factor: DF, 1 to 4096; 1 leaves the maps as they are. Of several, such as
            ``(2, 4, 8)``, the region term is the mean.
        loss_lambda: lambda in [0, 1]: 1 is the pixel-wise term alone, 0 the region term alone.
        covariance: ``'sum'`` over regions, as in the released code; ``'mean'``, as in the paper; or
            ``'relative'`` to the mean variance of the true map, which makes ``ridge`` a pure
            number.
        ridge: xi > 0, keeps covariances invertible; 5e-4 in the released code, 1e-6 in the paper.
        ignored: ``'zero'`` counts ignored pixels as background, as in the released code;
            ``'exclude'`` drops every region that touches a cell with an ignored pixel.
        nonnegative: subtract the minimum of the region term, so that an absent class contributes
            0; the gradient is the same. False gives the value of the released code.
        pixel_term: ``'bce'``, as in the paper, or ``'ce'``, softmax cross entropy (over the number
            of valid pixels + 1).
        activation: what turns logits into probabilities in the region term: ``'sigmoid'``, as in
            the paper, or ``'softmax'``.
        class_weight: one factor per class in the pixel-wise term: a list, array or tensor, or a
            file that holds one, as for ``CrossEntropyLoss``.
        ignore_index: label to ignore, unless a call gives another; None ignores nothing.
        impl: ``'reference'``, the formulas under autograd; ``'torch'``; ``'triton'``, on a GPU; or
            ``'auto'``, the fastest that fits. All agree to rounding.
        loss_weight: factor of the whole loss.
        loss_name: name in the log; must contain ``'loss'``.
        **other_arguments: arguments of another loss, inherited by a config; raise a TypeError.

    Source: Zhao et al., "Region Mutual Information Loss for Semantic Segmentation", NeurIPS 2019.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 2, 32, 32)
        >>> labels = torch.zeros(1, 32, 32, dtype=torch.long)
        >>> labels[:, 16:] = 1
        >>> sharp = torch.where(labels[:, None] == torch.tensor([0, 1])[:, None, None], 9.0, -9.0)
        >>> bool(RMILoss()(sharp, labels) < RMILoss()(logits, labels))
        True
    """

    class_weight: Tensor | None

    def __init__(
        self,
        region_size: int = 3,
        downsample: str = 'avg',
        downsample_factor: int | Sequence[int] = 4,
        loss_lambda: float = 0.5,
        covariance: str = 'sum',
        ridge: float = 5e-4,
        ignored: str = 'zero',
        nonnegative: bool = True,
        pixel_term: str = 'bce',
        activation: str = 'sigmoid',
        class_weight: ClassWeight | None = None,
        ignore_index: int | None = 255,
        impl: str = 'auto',
        loss_weight: float = 1.0,
        loss_name: str = 'loss_rmi',
        **other_arguments: Any,
    ) -> None:
        super().__init__(ignore_index, loss_weight, loss_name, other_arguments)
        self.downsample_factors = as_factors(downsample_factor)
        self.settings = RMISettings(
            region_size=region_size,
            downsample=downsample,
            downsample_factor=self.downsample_factors[0],
            loss_lambda=loss_lambda,
            covariance=covariance,
            ridge=ridge,
            ignored=ignored,
            nonnegative=nonnegative,
            pixel_term=pixel_term,
            activation=activation,
        )
        check_choice('impl', impl, IMPLEMENTATIONS)
        self.register_buffer('class_weight', load_class_weight(class_weight), persistent=False)
        self.impl = impl
        self.map_watch = InverseMapWatch()

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        weight: Tensor | None = None,
        ignore_index: int | EllipsisType | None = ...,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss of a batch.

        Args:
            logits: ``B x C x H x W``, float16, bfloat16, float32 or float64; C = 1 is a binary map.
            labels: ``B x H x W`` or ``B x 1 x H x W``, integer, in ``[0, C)`` (``{0, 1}`` if C = 1)
                or ``ignore_index``.
            weight: ``B x H x W``, scales the pixel-wise term; may require a gradient where ``impl``
                is ``'auto'`` or ``'reference'``.
            ignore_index: label to ignore; None ignores nothing; the constructor's by default.
            avg_factor: None; the loss is normalised by its own pixels and images.
            reduction_override: None or ``'mean'``.

        Returns:
            Scalar in nats, float32 (float64 for float64 logits); not finite if a logit is not, or
            if a sum of them overflows, as that of cross entropy.

        Raises:
            ValueError: shapes, devices, labels or reduction that do not fit, maps too small.
            TypeError: logits that are not floating point, labels that are not integer.
        """
        labels, ignore_index = self.check_call(
            logits, labels, weight, ignore_index, avg_factor, reduction_override
        )
        self.map_watch.see(logits, labels, ignore_index)
        loss = rmi_loss(
            logits,
            labels,
            self.settings,
            ignore_index=ignore_index,
            pixel_weight=weight,
            class_weight=self.class_weight,
            normalizers=global_normalizers(logits, labels, ignore_index),
            downsample_factors=self.downsample_factors,
            impl=self.impl,
        )
        return propagate_nonfinite(self.loss_weight * loss)

    def stream(
        self,
        logits: Tensor,
        labels: Tensor,
        *,
        ignore_index: int | EllipsisType | None = ...,
        align_corners: bool,
    ) -> RMITerms:
        """Compute the loss of logits that are still to be upsampled.

        Args:
            logits: ``B x C x H' x W'``, as in :meth:`forward`.
            labels: ``B x H x W``, as in :meth:`forward`.
            ignore_index: as in :meth:`forward`.
            align_corners: how logits are upsampled, see ``torch.nn.functional.interpolate``.

        Returns:
            ``total``, which equals the loss of the upsampled logits, and by-products: the
            ``region`` term in it, the mean region ``score``, the number of ``correct`` pixels.

        Raises:
            ValueError: as :meth:`forward`.
            TypeError: as :meth:`forward`.
        """
        labels, ignore_index = self.check_call(logits, labels, None, ignore_index, same_size=False)
        self.map_watch.see(logits, labels, ignore_index)
        terms = streamed_rmi_loss(
            logits,
            labels,
            self.settings,
            align_corners=align_corners,
            ignore_index=ignore_index,
            class_weight=self.class_weight,
            normalizers=global_normalizers(logits, labels, ignore_index),
            downsample_factors=self.downsample_factors,
            impl=self.impl,
        )
        return terms._replace(
            total=propagate_nonfinite(self.loss_weight * terms.total),
            region=self.loss_weight * terms.region,
        )

    @property
    def use_sigmoid(self) -> bool:
        """Whether the network is trained for sigmoids, which test-time fusion needs to know."""
        if self.settings.loss_lambda == 0:
            return self.settings.activation == 'sigmoid'
        return self.settings.pixel_term == 'bce'

    def extra_repr(self) -> str:
        """Return the settings, as ``print(model)`` shows them."""
        factors = self.downsample_factors
        several = f', downsample_factors={factors}' if len(factors) > 1 else ''
        return f'{self.settings}{several}, loss_weight={self.loss_weight}'
