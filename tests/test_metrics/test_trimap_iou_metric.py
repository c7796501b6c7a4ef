"""Trimaps against distances taken pixel by pixel, and by hand."""

import math

import numpy as np
import pytest

from helpers.label_maps import CLASSES, blobs, evaluate, sample
from mmseg_rmi.metrics import TrimapIoUMetric

WIDTHS = (1, 2, 4, 9)
SAMPLES = [sample(*blobs(seed)) for seed in range(5)]


def distance_to_boundary(truth: np.ndarray) -> np.ndarray:
    """Of each pixel, rows or columns (whichever are more) to the nearest one of another label."""
    distances = np.full(truth.shape, np.inf)
    rows, columns = np.indices(truth.shape)
    for i, j in np.ndindex(truth.shape):
        other = truth != truth[i, j]
        if other.any():
            distances[i, j] = np.maximum(abs(rows - i), abs(columns - j))[other].min()
    return distances


def oracle(samples: list[dict], width: int) -> float:
    intersection, union = np.zeros((2, len(CLASSES)))
    for one in samples:
        prediction, truth = (
            one[name]['data'][0].numpy() for name in ('pred_sem_seg', 'gt_sem_seg')
        )
        band = (distance_to_boundary(truth) <= width) & (truth != 255)
        for label in range(len(CLASSES)):
            true, found = (band & (labels == label) for labels in (truth, prediction))
            intersection[label] += (true & found).sum()
            union[label] += (true | found).sum()
    return float(np.mean(100 * intersection / union))


def test_each_band_has_the_iou_of_its_pixels():
    found = evaluate(dict(type='TrimapIoUMetric', widths=WIDTHS), SAMPLES)
    expected = {f'trimap/mIoU.{width}': oracle(SAMPLES, width) for width in WIDTHS}
    assert found == pytest.approx(expected)
    assert len({round(value, 3) for value in found.values()}) == len(WIDTHS)


def test_bands_grow_from_the_boundary_as_counted_by_hand():
    truth = [[0, 0, 0, 0, 1, 1, 1, 1]]
    prediction = [[1, 0, 0, 1, 1, 1, 1, 1]]
    found = evaluate(dict(type='TrimapIoUMetric', widths=[1, 3, 4]), [sample(prediction, truth)])
    assert found == pytest.approx(
        {
            'trimap/mIoU.1': (0 + 50) / 2,
            'trimap/mIoU.3': 100 * (2 / 3 + 3 / 4) / 2,
            'trimap/mIoU.4': 100 * (2 / 4 + 4 / 6) / 2,
        }
    )


def test_ignored_pixels_are_a_boundary_and_not_scored():
    truth = [[0, 0, 0, 255, 0, 0, 0]]
    prediction = [[1, 0, 0, 1, 0, 0, 1]]
    found = evaluate(dict(type='TrimapIoUMetric', widths=[2, 3]), [sample(prediction, truth)])
    assert found['trimap/mIoU.2'] == 100
    assert found['trimap/mIoU.3'] == pytest.approx((100 * 4 / 6 + 0) / 2)


def test_a_map_of_one_label_has_no_band():
    found = evaluate(dict(type='TrimapIoUMetric', widths=[40]), [sample([[0, 1]], [[0, 0]])])
    assert math.isnan(found['trimap/mIoU.40'])


@pytest.mark.parametrize('widths', [(), (2, 1), (1, 1)])
def test_widths_that_are_no_bands_are_refused(widths):
    with pytest.raises(ValueError, match='widths must be one or more integers, ascending'):
        TrimapIoUMetric(widths=widths)


@pytest.mark.parametrize(
    ('widths', 'error', 'message'),
    [
        ((0, 1), ValueError, 'each of widths must be at least 1, got 0'),
        ((1.5,), TypeError, 'each of widths must be an integer, got 1.5'),
        ((True, 2), TypeError, 'each of widths must be an integer, got True'),
        (3, TypeError, 'widths must be a list of integers, got 3'),
    ],
)
def test_widths_that_are_no_numbers_of_pixels_are_refused(widths, error, message):
    with pytest.raises(error, match=message):
        TrimapIoUMetric(widths=widths)
