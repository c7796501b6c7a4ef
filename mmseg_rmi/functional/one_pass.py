"""The objective and its gradient in one visit of the logits.

Equal to :func:`mmseg_rmi.functional.objective.rmi_objective`, which is the one to read, at a
fraction of its cost: blocks of maps that fit a budget go once through sigmoid, both terms and their
gradient, and nothing of full resolution is kept but the gradient itself.

Shapes: ``B`` images, ``C`` classes, ``H x W`` input, ``h x w`` down-sampled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmseg_rmi.functional.objective import Normalizers, batch_normalizers, default_region_dtype
from mmseg_rmi.functional.region_term import RegionTerm
from mmseg_rmi.functional.settings import RMISettings

# Bytes of one block's working memory. A CPU's is a share of its cache; a GPU wants few large calls.
BLOCK_BYTES = {'cpu': 4 << 20, 'cuda': 512 << 20}

# Products of this many factors in [1/2, 1] are normal numbers in float32.
LARGEST_PRODUCT = 60


def one_pass_objective(
    logits: Tensor,
    labels: Tensor,
    settings: RMISettings | None = None,
    *,
    ignore_index: int = 255,
    pixel_weight: Tensor | None = None,
    normalizers: Normalizers | None = None,
    region_dtype: torch.dtype | None = None,
) -> Tensor:
    """:func:`mmseg_rmi.functional.rmi_objective` in one visit: same arguments, same value.

    The gradient is made with the value and kept in float32 or better until it is scaled by what
    comes from above. Without gradients (``torch.no_grad``, ``inference_mode``) only the value is.

    Raises:
        RuntimeError: when a second derivative is asked for.

    Example:
        >>> logits = torch.randn(2, 3, 32, 32, requires_grad=True)
        >>> labels = torch.randint(3, (2, 32, 32))
        >>> one_pass_objective(logits, labels).backward()
        >>> logits.grad.shape
        torch.Size([2, 3, 32, 32])
    """
    visitor = ImageVisitor(
        logits.shape[1:],
        settings or RMISettings(),
        normalizers or batch_normalizers(labels, ignore_index),
        ignore_index=ignore_index,
        dtype=torch.float64 if logits.dtype == torch.float64 else torch.float32,
        region_dtype=region_dtype or default_region_dtype(logits.device),
        device=logits.device,
    )
    if torch.is_grad_enabled() and logits.requires_grad:
        return _OnePass.apply(logits, labels, pixel_weight, visitor)
    return visitor.visit_batch(logits, labels, pixel_weight)


class _OnePass(torch.autograd.Function):
    """Makes the gradient with the value, for the first backward pass; another makes it anew."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        pixel_weight: Tensor | None,
        visitor: ImageVisitor,
    ) -> Tensor:
        ctx.save_for_backward(logits, labels, pixel_weight)
        ctx.visitor = visitor
        ctx.gradient = visitor.empty_gradient(logits)
        return visitor.visit_batch(logits, labels, pixel_weight, ctx.gradient)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None, None, None]:
        logits, labels, pixel_weight = ctx.saved_tensors
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            gradient = ctx.visitor.empty_gradient(logits)
            ctx.visitor.visit_batch(logits, labels, pixel_weight, gradient)
        return gradient.mul_(scale).to(logits.dtype), None, None, None


class ImageTerms(NamedTuple):
    """What :class:`ImageVisitor` finds of an image.

    Attributes:
        pixel: its share of the pixel-wise term, scalar.
        region: its share of the region term, scalar.
        scores: region scores of classes, NaN where undefined; None if not asked for.
    """

    pixel: Tensor
    region: Tensor
    scores: Tensor | None


class ImageVisitor:
    """Visits one image after the other, in reused memory.

    Args:
        shape: ``(C, H, W)`` of an image's logits.
        settings: the constants of the objective.
        normalizers: what the sums over the batch are divided by.
        ignore_index: label of pixels that do not count.
        dtype: float32 or float64, of the gradient and of all work at full resolution.
        region_dtype: float64 or float32, of all work on regions and of sums.
        device: of the logits.
        with_scores: whether to find region scores as well.
    """

    def __init__(
        self,
        shape: torch.Size,
        settings: RMISettings,
        normalizers: Normalizers,
        *,
        ignore_index: int,
        dtype: torch.dtype,
        region_dtype: torch.dtype,
        device: torch.device,
        with_scores: bool = False,
    ) -> None:
        self.channels, height, width = shape
        self.ignore_index = ignore_index
        self.dtype = dtype
        self.pixel_scale = settings.loss_lambda / normalizers.pixels.to(region_dtype)
        self.region_scale = (1 - settings.loss_lambda) / normalizers.images.to(region_dtype)
        self.block = _maps_in_block(settings, shape, dtype, device)
        self.probability = torch.empty(self.block, height, width, dtype=dtype, device=device)
        self.scratch = torch.empty_like(self.probability)
        self.region_term = None
        if settings.loss_lambda < 1:
            self.region_term = RegionTerm(
                settings, (height, width), self.block, region_dtype, device, with_scores
            )

    def empty_gradient(self, logits: Tensor) -> Tensor:
        """Memory for the gradient of a batch, ``B x C x H x W``."""
        return torch.empty(logits.shape, dtype=self.dtype, device=logits.device)

    def visit_batch(
        self,
        logits: Tensor,
        labels: Tensor,
        pixel_weight: Tensor | None = None,
        gradient: Tensor | None = None,
    ) -> Tensor:
        """Sum of both terms over a batch; arguments as in :meth:`visit` with a leading ``B``."""
        terms = [
            self.visit(
                logits[image],
                labels[image],
                None if pixel_weight is None else pixel_weight[image],
                None if gradient is None else gradient[image],
            )
            for image in range(len(logits))
        ]
        return torch.stack([pixel + region for pixel, region, _ in terms]).sum().to(self.dtype)

    def visit(
        self,
        logits: Tensor,
        labels: Tensor,
        pixel_weight: Tensor | None = None,
        gradient: Tensor | None = None,
    ) -> ImageTerms:
        """Compute an image's shares of both terms, and write their gradient.

        Args:
            logits: ``C x H x W``.
            labels: ``H x W``, integer.
            pixel_weight: ``H x W``.
            gradient: ``C x H x W``, of ``dtype``; written if given, the logits themselves perhaps.

        Returns:
            The image's shares of both terms, of ``region_dtype``.
        """
        valid = labels != self.ignore_index
        channel = labels.long() - (1 if self.channels == 1 else 0)
        has_channel = valid & (channel >= 0)
        channel = channel.where(has_channel, 0)
        scale = (self.pixel_scale * valid).to(self.dtype)
        if pixel_weight is not None:
            scale = scale * pixel_weight

        one = has_channel.to(self.dtype)
        of_label = logits.gather(0, channel[None])[0].to(self.dtype) * one
        entropy = _CrossEntropy(self.scratch)
        scores = []
        bounds = torch.zeros_like(self.region_scale)
        if self.region_term is not None:
            truth = self.region_term.read(channel, has_channel, valid, self.channels)
            bounds = bounds + truth.floor
        for start in range(0, self.channels, self.block):
            block = slice(start, min(start + self.block, self.channels))
            values = logits[block].to(self.dtype)
            probability = torch.sigmoid(values, out=self.probability[: len(values)])
            entropy.add(values, probability)
            region_gradient = None
            if self.region_term is not None and any(truth.present[block]):
                probability.mul_(valid)
                solution = self.region_term.visit(probability, truth, block)
                region_gradient = solution.gradients.mul_(self.region_scale)
                bounds = bounds + solution.bounds.sum()
                scores.append(solution.scores)
            if gradient is not None:
                _write_gradient(gradient[block], probability, scale, region_gradient)

        if gradient is not None:
            gradient.scatter_add_(0, channel[None], -(scale * one)[None])
        pixel_term = ((entropy.total() - of_label) * scale).sum(dtype=bounds.dtype)
        return ImageTerms(pixel_term, self.region_scale * bounds, _join(scores))


def _maps_in_block(
    settings: RMISettings, shape: torch.Size, dtype: torch.dtype, device: torch.device
) -> int:
    """How many maps of an image fit a block's budget, with their points."""
    channels, height, width = shape
    pixels = height * width
    points = pixels // settings.downsample_factor**2
    values = 2 * pixels + 2 * points * (1 + 3 * settings.dimension)
    budget = BLOCK_BYTES.get(device.type, BLOCK_BYTES['cuda'])
    return max(1, min(budget // (values * dtype.itemsize), LARGEST_PRODUCT, channels))


class _CrossEntropy:
    """``sum_c softplus(x_c)`` of every pixel, from logits and their sigmoids.

    ``softplus(x) = max(x, 0) - log max(p, 1 - p)``, and the logarithm is taken of products.
    """

    def __init__(self, scratch: Tensor) -> None:
        self.scratch = scratch
        self.positive = torch.zeros_like(scratch[0])
        self.product = torch.ones_like(scratch[0])
        self.factors = 0
        self.poison = torch.zeros_like(scratch[0, 0, 0])

    def add(self, values: Tensor, probability: Tensor) -> None:
        """Count a block of maps, ``k x H x W`` each."""
        scratch = self.scratch[: len(values)]
        self.positive += torch.clamp(values, min=0, out=scratch).sum(dim=0)
        if self.factors + len(values) > LARGEST_PRODUCT:
            self._take_logarithm()
        self.product *= torch.sub(probability, 0.5, out=scratch).abs_().add_(0.5).prod(dim=0)
        self.factors += len(values)
        self.poison += 0 * values.sum()  # NaN for what a sigmoid would hide, an infinite logit

    def total(self) -> Tensor:
        """The sum, ``H x W``."""
        self._take_logarithm()
        return self.positive + self.poison

    def _take_logarithm(self) -> None:
        self.positive -= self.product.log_()
        self.product.fill_(1)
        self.factors = 0


def _join(scores: list[Tensor | None]) -> Tensor | None:
    found = [some for some in scores if some is not None]
    return torch.cat(found) if found else None


def _write_gradient(
    out: Tensor, probability: Tensor, scale: Tensor, region_gradient: Tensor | None
) -> None:
    """``p * scale + p (1 - p) * region_gradient``: both terms by the logits, but for the labels."""
    if region_gradient is None:
        torch.mul(probability, scale, out=out)
    else:
        torch.sub(torch.ones_like(scale), probability, out=out)
        out.mul_(region_gradient).add_(scale).mul_(probability)
