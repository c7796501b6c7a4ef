"""Means of a few values with their confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
LEAST = 3  # values of an interval: that of two is wider than anything it could tell


@dataclass(frozen=True)
class Estimate:
    """A mean and the half-width of its confidence interval, by Student's t, from 3 values on."""

    mean: float
    half_width: float  # NaN of fewer values
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> 'Estimate':
        """Estimate the mean of what the values are drawn from.

        >>> print(f'{Estimate.of([4.0, 3.0, 5.0]):+}', f'{Estimate.of([4.0, 3.0]):+}')
        +4.00 ± 2.48 +3.50
        """
        count, mean = len(values), float(np.mean(values))
        if count < LEAST:
            return cls(mean, np.nan, count)
        quantile = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)
        return cls(mean, float(quantile * np.std(values, ddof=1) / np.sqrt(count)), count)

    @property
    def is_clear(self) -> bool:
        """Tell whether the interval leaves out 0."""
        return abs(self.mean) > self.half_width

    def __format__(self, specification: str) -> str:
        sign = '+' if '+' in specification else ''
        mean = f'{self.mean:{sign}.2f}'
        return mean if np.isnan(self.half_width) else f'{mean} ± {self.half_width:.2f}'
