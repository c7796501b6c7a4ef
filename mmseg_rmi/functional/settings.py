"""The constants of the loss, checked once, where they enter."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmseg_rmi.utils.checks import check_choice, check_integer, check_number

DOWNSAMPLE_METHODS = ('avg', 'max', 'interp')
COVARIANCES = ('sum', 'mean', 'relative')
IGNORED = ('zero', 'exclude')
PIXEL_TERMS = ('bce', 'ce')
ACTIVATIONS = ('sigmoid', 'softmax')
LARGEST_REGION_SIZE = 10
LARGEST_FACTOR = 4096  # DF


@dataclass(frozen=True)
class RMISettings:
    """Hold what Eq. 16 of the paper leaves to choose; the defaults are those of the released code.

    Args:
        region_size: side R of the square regions, 1 to 10; a point has ``d = R * R`` dimensions.
        downsample: ``'avg'``, ``'max'`` (pooling) or ``'interp'`` (nearest for the labels,
            bilinear for the probabilities).
        downsample_factor: DF, 1 to 4096; 1 leaves the maps as they are.
        loss_lambda: lambda in [0, 1], the share of the pixel-wise term.
        covariance: scale of the covariances: ``'sum'`` over the points of an image (released),
            their ``'mean'`` (paper), or ``'relative'`` to the truth's own mean variance
            ``tr(S_Y) / d`` of that image and class, which makes ``ridge`` a pure number that means
            the same for every size of image, class and downsampling.
        ridge: xi > 0, added to the diagonals before they are inverted and factorised.
        ignored: ``'zero'`` counts an ignored pixel as background in both maps; ``'exclude'`` drops
            every region that touches a cell with an ignored pixel.
        nonnegative: subtract the least value of the region term, ``1/2 log xi`` per class.
        pixel_term: ``'bce'``, sigmoid cross entropy of every class (paper), or ``'ce'``, softmax
            cross entropy.
        activation: of the logits in the region term: ``'sigmoid'`` (paper) or ``'softmax'``.

    Raises:
        ValueError: an argument is outside its range; the message names it, the value and the range.
        TypeError: an argument is of another type.

    Example:
        >>> RMISettings(region_size=5, covariance='mean', ridge=1e-6).dimension
        25
    """

    region_size: int = 3
    downsample: str = 'avg'
    downsample_factor: int = 4
    loss_lambda: float = 0.5
    covariance: str = 'sum'
    ridge: float = 5e-4
    ignored: str = 'zero'
    nonnegative: bool = True
    pixel_term: str = 'bce'
    activation: str = 'sigmoid'

    def __post_init__(self) -> None:
        check_integer('region_size', self.region_size, 1, LARGEST_REGION_SIZE)
        check_integer('downsample_factor', self.downsample_factor, 1, LARGEST_FACTOR)
        for name in ('region_size', 'downsample_factor'):  # perhaps integers of NumPy
            object.__setattr__(self, name, int(getattr(self, name)))
        check_choice('downsample', self.downsample, DOWNSAMPLE_METHODS)
        check_choice('covariance', self.covariance, COVARIANCES)
        check_choice('ignored', self.ignored, IGNORED)
        check_choice('pixel_term', self.pixel_term, PIXEL_TERMS)
        check_choice('activation', self.activation, ACTIVATIONS)
        check_number('loss_lambda', self.loss_lambda)
        check_number('ridge', self.ridge)
        if not 0 <= self.loss_lambda <= 1:
            raise ValueError(f'loss_lambda must lie in [0, 1], got {self.loss_lambda}')
        if not self.ridge > 0:
            raise ValueError(f'ridge must be greater than 0, got {self.ridge}')
        if not isinstance(self.nonnegative, bool):
            raise TypeError(f'nonnegative must be True or False, got {self.nonnegative!r}')
        if self.ignored == 'exclude' and self.downsample == 'interp':
            raise ValueError(
                "ignored='exclude' needs cells with borders, which downsample='interp' does not "
                "have: use downsample='avg' or 'max', or ignored='zero'"
            )

    @property
    def dimension(self) -> int:
        """d, the number of pixels in a region."""
        return self.region_size**2

    @property
    def floor(self) -> float:
        """The least value of ``-I_l`` of one class, in nats: every eigenvalue is at least xi."""
        return 0.5 * math.log(self.ridge)
