"""Boundary IoU against the erosion of its paper's masks, and by hand."""

import math

import numpy as np
import pytest

from helpers.label_maps import CLASSES, blobs, evaluate, sample
from mmseg_rmi.metrics import BoundaryIoUMetric

SAMPLES = [sample(*blobs(seed)) for seed in range(5)]


def erode(mask: np.ndarray) -> np.ndarray:
    """Keep the pixels all of whose 3 x 3 neighbours are in the mask; beyond the image none is."""
    kept = np.zeros_like(mask)
    for i in range(1, mask.shape[0] - 1):
        for j in range(1, mask.shape[1] - 1):
            kept[i, j] = mask[i - 1 : i + 2, j - 1 : j + 2].all()
    return kept


def boundary_region(mask: np.ndarray, distance: int) -> np.ndarray:
    inside = mask
    for _ in range(distance):
        inside = erode(inside)
    return mask & ~inside


def oracle(samples: list[dict], ratio: float) -> list[float]:
    """Per class, mask by mask."""
    values = []
    for label in range(len(CLASSES)):
        intersection = union = 0
        for one in samples:
            prediction, truth = (
                one[name]['data'][0].numpy() for name in ('pred_sem_seg', 'gt_sem_seg')
            )
            height, width = truth.shape
            distance = max(1, round(ratio * (height**2 + width**2) ** 0.5))
            true = boundary_region(truth == label, distance)
            found = boundary_region((prediction == label) & (truth != 255), distance)
            intersection += (true & found).sum()
            union += (true | found).sum()
        values.append(100 * intersection / union)
    return values


@pytest.mark.parametrize('ratio', [0.02, 0.05, 0.12])  # d = 1, 1 and 3
def test_it_is_that_of_eroded_masks(ratio):
    found = evaluate(dict(type='BoundaryIoUMetric', dilation_ratio=ratio), SAMPLES)
    expected = oracle(SAMPLES, ratio)
    assert [found[f'boundary/IoU.{name}'] for name in CLASSES] == pytest.approx(expected)
    assert found['boundary/mIoU'] == pytest.approx(sum(expected) / 3)
    assert 5 < min(expected) < max(expected) < 95


def test_a_shifted_square_scores_as_counted_by_hand():
    truth, prediction = np.zeros((2, 40, 40), int)
    truth[10:16, 10:16] = 1
    prediction[10:16, 11:17] = 1
    found = evaluate(
        dict(type='BoundaryIoUMetric', dilation_ratio=0.01), [sample(prediction, truth)]
    )
    # Rings of 20 pixels each, which share 5 of the upper and of the lower side.
    assert found['boundary/IoU.road'] == pytest.approx(100 * 10 / 30)
    assert math.isnan(found['boundary/IoU.pole'])


def test_only_what_is_not_ignored_matters():
    _, truth = blobs(seed=7)
    assert (truth == 255).any()
    guess = np.where(truth == 255, np.arange(truth.size).reshape(truth.shape) % 3, truth)
    found = evaluate(dict(type='BoundaryIoUMetric'), [sample(guess, truth)])
    assert {name: found[f'boundary/IoU.{name}'] for name in CLASSES} == dict.fromkeys(CLASSES, 100)


def test_an_image_that_is_all_ignored_changes_nothing():
    void = sample(np.zeros((5, 5), int), np.full((5, 5), 255))
    expected = evaluate(dict(type='BoundaryIoUMetric'), SAMPLES)
    assert evaluate(dict(type='BoundaryIoUMetric'), [void, *SAMPLES, void]) == expected


@pytest.mark.parametrize('ratio', [0, -0.1, math.nan, '0.02'])
def test_a_ratio_that_is_no_width_is_refused(ratio):
    with pytest.raises((TypeError, ValueError), match='dilation_ratio must be'):
        BoundaryIoUMetric(dilation_ratio=ratio)
