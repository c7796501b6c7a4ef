"""The affinity field loss (Ke et al., ECCV 2018), which the RMI paper compares with.

Each pixel is paired with its eight neighbours at a distance: where the true maps of a class agree,
the predicted ones shall agree as well, and where they differ, the predicted ones shall differ.
Shapes: ``B`` images, ``C`` classes, ``H x W`` input, ``h x w`` downsampled, ``K`` sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmseg_rmi.functional.contract import promote
from mmseg_rmi.functional.downsampling import downsample, pooled_side
from mmseg_rmi.functional.maps import one_hot
from mmseg_rmi.utils.tracing import in_functorch

DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
LEAST_PROBABILITY = 1e-4


def affinity_field_loss(
    logits: Tensor,
    labels: Tensor,
    sizes: Sequence[int] = (1,),
    margin: float = 3.0,
    downsample_factor: int = 8,
    *,
    ignore_index: int = 255,
    size_weights: Tensor | None = None,
    counts: Tensor | None = None,
) -> Tensor:
    """Compute ``sum_sizes (mean_edges w max(0, margin - KL) + mean_others w KL)``.

    The means run over images, classes, pixels and their eight neighbours; an element (a class of a
    pair of pixels) is an edge if the one-hot labels of the two pixels differ in that class. Pairs
    with an ignored pixel, or one outside the image, do not count. Probabilities are softmaxes of
    downsampled logits (bilinear, corners aligned); labels are downsampled to the nearest.

    Args:
        logits: ``B x C x H x W``, floating point, C at least 2.
        labels: ``B x H x W``, integer, in ``[0, C)`` or ``ignore_index``.
        sizes: distances to the neighbours in pixels of the downsampled map; 1 is a 3 x 3 window.
        margin: KL divergence in nats from which on the two pixels of an edge differ enough.
        downsample_factor: DF; 1 takes the maps as they are.
        ignore_index: label of pixels that do not count.
        size_weights: w of edges and of others, by the label of the centre, ``2 x L x K`` with L at
            least C; 1 / K by default.
        counts: what the sums are divided by, ``K x 2``, positive; the elements of this batch by
            default, see :func:`count_elements`.

    Returns:
        Scalar, in nats, of the logits' type, but float32 for half precision; 0 without any pair.

    Source: Ke et al., "Adaptive Affinity Fields for Semantic Segmentation", ECCV 2018, Eq. 4 to 7.

    Example:
        >>> labels = torch.zeros(1, 32, 32, dtype=torch.long)
        >>> labels[:, :, 16:] = 1
        >>> sharp = 9.0 * one_hot(labels, 2)
        >>> affinity_field_loss(sharp, labels) < affinity_field_loss(0 * sharp, labels)
        tensor(True)
    """
    labels, classes = downsample_labels(labels, downsample_factor).long(), logits.shape[1]
    probability = downsample(promote(logits), 'interp', downsample_factor).softmax(dim=1)
    if size_weights is None:
        size_weights = probability.new_full((2, classes, len(sizes)), 1 / len(sizes))
    if counts is None:
        counts = count_elements(labels, classes, sizes, ignore_index).clamp(min=1)
    sums = [
        affinity_sums(probability, labels, size, weights, margin, ignore_index)
        for size, weights in zip(sizes, size_weights.unbind(dim=2), strict=True)
    ]
    return (torch.stack(sums) / counts).sum()


def bernoulli_divergence(centre: Tensor, neighbour: Tensor) -> Tensor:
    """Compute ``q log(q / p) + (1 - q) log((1 - q) / (1 - p))`` of a centre p and a neighbour q.

    Each of p, q, 1 - p and 1 - q is first raised to at least 1e-4.

    Args:
        centre: p, probabilities of any shape.
        neighbour: q, the same shape.

    Returns:
        The same shape.

    Example:
        >>> p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.25])
        >>> bernoulli_divergence(p, q)  # q = 1/4: 1/4 log 1/2 + 3/4 log 3/2
        tensor([0.0000, 0.1308])
    """
    p, q = (each.clamp(min=LEAST_PROBABILITY) for each in (centre, neighbour))
    not_p, not_q = ((1 - each).clamp(min=LEAST_PROBABILITY) for each in (centre, neighbour))
    return q * (q / p).log() + not_q * (not_q / not_p).log()


def affinity_sums(
    probability: Tensor,
    labels: Tensor,
    size: int,
    weights: Tensor,
    margin: float,
    ignore_index: int = 255,
) -> Tensor:
    """Sum ``w max(0, margin - KL)`` over edges and ``w KL`` over the others.

    One of the eight directions is in memory at a time; the way back computes each once more.

    Args:
        probability: ``B x C x h x w``.
        labels: ``B x h x w``, integer.
        size: distance to the neighbours, less than h and w.
        weights: w of edges and of others, by the label of the centre, ``2 x L``.
        margin: in nats.
        ignore_index: label of pixels that do not count.

    Returns:
        The two sums, of the type of the probabilities.
    """
    recomputed = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
    sums = probability.new_zeros(2)
    for rows, columns in DIRECTIONS:
        offset = (rows * size, columns * size)
        arguments = probability, labels, offset, weights, margin, ignore_index
        if in_functorch():  # whose transforms know no checkpoints
            sums = sums + _sums_of_one_direction(*arguments)
        else:
            sums = sums + recomputed(_sums_of_one_direction, *arguments)
    return sums


def _sums_of_one_direction(
    probability: Tensor,
    labels: Tensor,
    offset: tuple[int, int],
    weights: Tensor,
    margin: float,
    ignore_index: int,
) -> Tensor:
    divergence = bernoulli_divergence(*pair_up(probability, offset))
    centre, neighbour = pair_up(labels, offset)
    valid = (centre != ignore_index) & (neighbour != ignore_index)
    classes = probability.shape[1]
    edge = one_hot(centre, classes) != one_hot(neighbour, classes)
    edge_weight, other_weight = (weights[:, centre * valid] * valid).unsqueeze(2)
    separation = edge_weight * edge * (margin - divergence).clamp(min=0)
    grouping = other_weight * ~edge * divergence
    return torch.stack([separation.sum(), grouping.sum()])


def count_elements(
    labels: Tensor, classes: int, sizes: Sequence[int], ignore_index: int = 255
) -> Tensor:
    """Count the elements that are edges and those that are not, for each size.

    Two pixels of different labels differ in two classes, and agree in all others.

    Args:
        labels: ``B x h x w``, integer, downsampled.
        classes: C.
        sizes: distances to the neighbours.
        ignore_index: label of pixels that do not count.

    Returns:
        ``K x 2``, integer.

    Example:
        >>> labels = torch.tensor([[[0, 1, 1], [0, 1, 255]]])  # 8 ordered pairs differ, 8 agree
        >>> count_elements(labels, 3, sizes=(1,)).tolist()
        [[16, 32]]
    """
    counts = []
    for size in sizes:
        different = same = labels.new_zeros(())
        for rows, columns in DIRECTIONS:
            centre, neighbour = pair_up(labels, (rows * size, columns * size))
            valid = (centre != ignore_index) & (neighbour != ignore_index)
            different = different + (valid & (centre != neighbour)).sum()
            same = same + (valid & (centre == neighbour)).sum()
        counts.append(torch.stack([2 * different, classes * same + (classes - 2) * different]))
    return torch.stack(counts)


def pair_up(maps: Tensor, offset: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return views of all pixels with a neighbour at an offset, and of these neighbours.

    Args:
        maps: ``... x h x w``.
        offset: rows and columns from the centre to its neighbour, less than h and w.

    Example:
        >>> centre, neighbour = pair_up(torch.tensor([[1, 2, 3], [4, 5, 6]]), (-1, 1))
        >>> centre.tolist(), neighbour.tolist()
        ([[4, 5]], [[2, 3]])
    """
    (height, width), (rows, columns) = maps.shape[-2:], offset
    centre = maps[..., _inside(height, rows), _inside(width, columns)]
    neighbour = maps[..., _inside(height, -rows), _inside(width, -columns)]
    return centre, neighbour


def _inside(side: int, step: int) -> slice:
    """Return the positions from which a step stays within a side."""
    return slice(max(-step, 0), side + min(-step, 0))


def downsample_labels(labels: Tensor, factor: int) -> Tensor:
    """Take the label of the nearest pixel: ``floor(H / DF) x floor(W / DF)`` of them.

    Args:
        labels: ``B x H x W``, integer.
        factor: DF.

    Example:
        >>> downsample_labels(torch.arange(16).reshape(1, 4, 4), 2)
        tensor([[[ 0,  2],
                 [ 8, 10]]])
    """
    rows, columns = (
        _nearest_places(side, pooled_side(side, 'interp', factor), labels.device)
        for side in labels.shape[1:]
    )
    return labels[:, rows[:, None], columns]


def _nearest_places(side: int, sampled: int, device: torch.device) -> Tensor:
    """Return which pixels of a side ``torch.nn.functional.interpolate`` samples as the nearest."""
    places = torch.arange(side, dtype=torch.float32, device=device)
    return F.interpolate(places[None, None], size=sampled, mode='nearest').flatten().long()
