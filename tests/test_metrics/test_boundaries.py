"""Distances to other labels, pixel by pixel."""

import numpy as np
import pytest
import torch

from helpers.label_maps import blobs
from mmseg_rmi.metrics.boundaries import inner_boundary, near_other_label


def other_labels_around(labels: np.ndarray, distance: int, beyond_is_other: bool) -> np.ndarray:
    """Look at every pixel of the square around every pixel."""
    height, width = labels.shape
    near = np.zeros(labels.shape, bool)
    for i in range(height):
        for j in range(width):
            for k in range(i - distance, i + distance + 1):
                for m in range(j - distance, j + distance + 1):
                    if 0 <= k < height and 0 <= m < width:
                        near[i, j] |= labels[k, m] != labels[i, j]
                    else:
                        near[i, j] |= beyond_is_other
    return near


@pytest.mark.parametrize('distance', [1, 2, 3, 15])  # 15: more than the map is high and wide
@pytest.mark.parametrize('dtype', [torch.uint8, torch.int64])
def test_every_pixel_of_the_square_counts(distance, dtype):
    _, labels = blobs(seed=1, height=9, width=14)
    maps = torch.tensor(labels, dtype=dtype)
    assert near_other_label(maps, distance).tolist() == (
        other_labels_around(labels, distance, beyond_is_other=False).tolist()
    )
    assert inner_boundary(maps, distance).tolist() == (
        other_labels_around(labels, distance, beyond_is_other=True).tolist()
    )


def test_a_uniform_map_has_no_change_of_label_but_ends_at_its_border():
    labels = torch.full((7, 7), 3)
    assert not near_other_label(labels, 7).any()
    assert (~inner_boundary(labels, 2)).nonzero().tolist() == [
        [i, j] for i in (2, 3, 4) for j in (2, 3, 4)
    ]


def test_labels_on_either_side_of_the_map_s_numbers_are_seen():
    """The extremes of a square say whether it is uniform, not which labels are in it."""
    labels = torch.tensor([[2, 2, 5, 2, 0, 2, 2]])
    assert near_other_label(labels, 1).int().tolist() == [[0, 1, 1, 1, 1, 1, 0]]


@pytest.mark.parametrize('dtype', [torch.int32, torch.int64])
@pytest.mark.parametrize('other', [-(2**31), 2**15 + 1, 2**16 - 1, 2**16 + 1])
def test_labels_that_16_bits_cannot_hold_are_told_apart(other, dtype):
    """In 16 bits, 65537 would be the 1 beside it, and 65535 what lies beyond the border."""
    labels = torch.tensor([[1, 1, other, other, other]], dtype=dtype)
    assert near_other_label(labels, 1).int().tolist() == [[0, 1, 1, 0, 0]]
    labels = torch.full((3, 3), other, dtype=dtype)
    assert (~inner_boundary(labels, 1)).nonzero().tolist() == [[1, 1]]
