"""One image through the dense CRF."""

import importlib.util

import numpy as np
import pytest
import torch

from helpers.crf_oracle import posterior, softmax
from mmseg_rmi.test_time import DenseCRF

needs_pydensecrf = pytest.mark.skipif(
    importlib.util.find_spec('pydensecrf') is None, reason='needs pydensecrf2'
)


def two_halves(height: int = 12, width: int = 16) -> np.ndarray:
    """A dark and a light half, side by side."""
    image = np.full((height, width, 3), 40, np.uint8)
    image[:, width // 2 :] = 200
    return image


def drawn_case(classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    image = rng.integers(0, 256, (13, 17, 3), dtype=np.uint8)
    return softmax(3 * rng.normal(size=(classes, 13, 17))), image


@needs_pydensecrf
@pytest.mark.parametrize('iterations', [1, 5, 10])
@pytest.mark.parametrize('classes', [2, 5])
def test_defaults_are_the_papers_settings(iterations, classes):
    distribution, image = drawn_case(classes)
    np.testing.assert_allclose(
        DenseCRF(iterations)(distribution, image),
        posterior(distribution, image, iterations),
        atol=1e-5,
    )


@needs_pydensecrf
def test_memory_layout_does_not_matter():
    distribution, image = drawn_case(3)
    crf = DenseCRF(2)
    strange = crf(np.asfortranarray(distribution.astype(np.float32)), image[..., ::-1][..., ::-1])
    np.testing.assert_allclose(strange, crf(distribution, image), atol=1e-5)


@needs_pydensecrf
def test_tensors_are_taken_as_arrays_are():
    case = drawn_case(3)
    assert np.array_equal(DenseCRF(1)(*map(torch.from_numpy, case)), DenseCRF(1)(*case))


@needs_pydensecrf
def test_pixels_of_one_colour_come_to_agree():
    image = two_halves()
    truth = (image[..., 0] > 100).astype(int)
    wrong = np.random.default_rng(0).random(truth.shape) < 0.2
    predicted = np.where(wrong, 1 - truth, truth)
    distribution = np.where(np.arange(2)[:, None, None] == predicted, 0.7, 0.3)
    assert wrong.any()
    np.testing.assert_array_equal(DenseCRF(10)(distribution, image).argmax(0), truth)


@needs_pydensecrf
def test_impossible_classes_have_finite_energy():
    distribution = np.zeros((3, 12, 16))
    distribution[1] = 1
    found = DenseCRF(1)(distribution, two_halves())
    assert np.isfinite(found).all()
    assert (found.argmax(0) == 1).all()


@needs_pydensecrf
@pytest.mark.parametrize(
    ('settings', 'error', 'message'),
    [
        (dict(iterations=0), ValueError, 'iterations must be'),
        (dict(iterations=1.5), TypeError, 'iterations must be'),
        (dict(bilateral_srgb=0), ValueError, 'bilateral_srgb must be greater than 0, got 0'),
        (dict(gaussian_sxy='3'), TypeError, 'gaussian_sxy must be'),
    ],
)
def test_settings_out_of_range_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        DenseCRF(**settings)


@needs_pydensecrf
@pytest.mark.parametrize(
    ('shape', 'image', 'error', 'message'),
    [
        ((1, 12, 16), two_halves(), ValueError, r'C at least 2, got shape \(1, 12, 16\)'),
        ((2, 12, 15), two_halves(), ValueError, r'H x W x 3 = \(12, 15, 3\) like the prediction'),
        ((2, 12, 16), two_halves() / 255, TypeError, 'image must be uint8, got float64'),
    ],
)
def test_inputs_that_do_not_fit_are_refused(shape, image, error, message):
    with pytest.raises(error, match=message):
        DenseCRF()(np.full(shape, 1 / shape[0]), image)


def test_a_missing_package_is_named_with_its_install_line(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match=r'pip install pydensecrf2==1\.1'):
        DenseCRF()
