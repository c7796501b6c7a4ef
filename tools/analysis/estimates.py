"""Means of a few values with their confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean and the half-width of its confidence interval, by Student's t."""

    mean: float
    half_width: float  # NaN of a single value
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> 'Estimate':
        """Estimate the mean of what the values are drawn from.

        >>> Estimate.of([1.0, 3.0])
        Estimate(mean=2.0, half_width=12.706204736174694, count=2)
        """
        count, mean = len(values), float(np.mean(values))
        if count < 2:
            return cls(mean, np.nan, count)
        quantile = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)
        return cls(mean, float(quantile * np.std(values, ddof=1) / np.sqrt(count)), count)

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.mean) > self.half_width

    def __format__(self, specification: str) -> str:
        sign = '+' if '+' in specification else ''
        mean = f'{self.mean:{sign}.2f}'
        return mean if np.isnan(self.half_width) else f'{mean} ± {self.half_width:.2f}'
