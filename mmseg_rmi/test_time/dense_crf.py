"""A fully connected conditional random field over the pixels of an image."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from mmseg_rmi.utils.checks import check_integer, check_number

LEAST_PROBABILITY = 1e-5  # of a class at a pixel, which keeps its energy finite


@dataclass(frozen=True)
class DenseCRF:
    """Mean-field inference in a dense CRF (Kraehenbuehl & Koltun 2011), with the paper's settings.

    The energy of a labelling is, for each pixel, the negative logarithm of the predicted
    probability of its label and, for each pair of pixels with different labels, ``gaussian_compat``
    times a Gaussian of their distance plus ``bilateral_compat`` times a Gaussian of their distance
    and difference in colour.

    Args:
        iterations: steps of inference, at least 1; the paper shows 1, 5 and 10.
        gaussian_sxy: standard deviation in pixels, the CRF paper's theta_gamma.
        gaussian_compat: weight of that kernel.
        bilateral_sxy: standard deviation in pixels, theta_alpha.
        bilateral_srgb: standard deviation in steps of 0 to 255, theta_beta.
        bilateral_compat: weight of that kernel.

    Raises:
        ImportError: pydensecrf is not installed; says how to install it.
        ValueError: a setting is not positive, or an input has the wrong shape.
        TypeError: a setting is not a number, or the image is not uint8.

    Source: "CRF" in tables 1, 2 and 4 of the RMI paper.

    Example:
        >>> image = np.zeros((4, 6, 3), np.uint8)
        >>> image[:, 3:] = 255
        >>> right = np.where(image[..., 0] == 255, 0.8, 0.2)
        >>> right[1, 1] = 0.6  # which neither its place nor its colour bears out
        >>> posterior = DenseCRF()(np.stack([1 - right, right]), image)
        >>> posterior.argmax(0)
        array([[0, 0, 0, 1, 1, 1],
               [0, 0, 0, 1, 1, 1],
               [0, 0, 0, 1, 1, 1],
               [0, 0, 0, 1, 1, 1]])
    """

    iterations: int = 10
    gaussian_sxy: float = 3.0
    gaussian_compat: float = 3.0
    bilateral_sxy: float = 30.0
    bilateral_srgb: float = 13.0
    bilateral_compat: float = 10.0

    def __post_init__(self) -> None:
        check_integer('iterations', self.iterations, 1)
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            check_number(field.name, value)
            if value <= 0:
                raise ValueError(f'{field.name} must be greater than 0, got {value}')
        if importlib.util.find_spec('pydensecrf') is None:
            raise ImportError(
                'a dense CRF needs pydensecrf: pip install pydensecrf2==1.1 (it is compiled, which '
                'takes a C++ compiler such as g++, and a minute)'
            )

    def __call__(self, distribution: ArrayLike, image: ArrayLike) -> np.ndarray:
        """Infer the posterior of every pixel's label.

        Arrays, or tensors on the CPU.

        Args:
            distribution: ``C x H x W``, floating point, C at least 2, sums to 1 over the classes.
            image: ``H x W x 3``, uint8, RGB.

        Returns:
            ``C x H x W``, float32, sums to 1 over the classes.
        """
        # Imported late: without a compiler, the rest of the package still works.
        from pydensecrf.densecrf import DenseCRF2D

        distribution, image = np.asarray(distribution), np.asarray(image)
        _check_inputs(distribution, image)
        classes, height, width = distribution.shape
        energy = -np.log(np.clip(distribution, LEAST_PROBABILITY, 1), dtype=np.float32)
        crf = DenseCRF2D(width, height, classes)
        crf.setUnaryEnergy(np.ascontiguousarray(energy.reshape(classes, -1)))
        crf.addPairwiseGaussian(sxy=self.gaussian_sxy, compat=self.gaussian_compat)
        crf.addPairwiseBilateral(
            sxy=self.bilateral_sxy,
            srgb=self.bilateral_srgb,
            rgbim=np.ascontiguousarray(image),
            compat=self.bilateral_compat,
        )
        return np.array(crf.inference(self.iterations)).reshape(classes, height, width)


def _check_inputs(distribution: np.ndarray, image: np.ndarray) -> None:
    if distribution.ndim != 3 or len(distribution) < 2:
        raise ValueError(
            f'distribution must be C x H x W with C at least 2, got shape {distribution.shape}'
        )
    if image.dtype != np.uint8:
        raise TypeError(f'image must be uint8, got {image.dtype}')
    expected = (*distribution.shape[1:], 3)
    if image.shape != expected:
        raise ValueError(
            f'image must be H x W x 3 = {expected} like the prediction, got shape {image.shape}'
        )
