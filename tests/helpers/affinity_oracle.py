"""The affinity field loss once more, in NumPy, pair by pair and class by class: slow and obvious.

Written from the formula of the paper (Ke et al., ECCV 2018); shares no code with the package.
"""

import math

import numpy as np


def affinity(
    logits,
    labels,
    sizes=(1,),
    margin=3.0,
    downsample_factor=8,
    ignore_index=255,
    size_weights=None,
):
    """Sum over sizes of the mean over edges and of the mean over the other elements."""
    logits, labels = shrink(np.asarray(logits, float), np.asarray(labels), downsample_factor)
    classes = logits.shape[1]
    if size_weights is None:
        size_weights = np.full((2, classes, len(sizes)), 1 / len(sizes))
    total = 0.0
    for k, size in enumerate(sizes):
        edges, others = [], []
        for image, truth in zip(logits, labels, strict=True):
            probability = softmax(image)
            for (i, j), (m, n) in pairs(truth.shape, size):
                if ignore_index in (truth[i, j], truth[m, n]):
                    continue
                for c in range(classes):
                    divergence = kl(probability[c, m, n], probability[c, i, j])
                    edge_weight, other_weight = np.asarray(size_weights)[:, truth[i, j], k]
                    if (truth[i, j] == c) != (truth[m, n] == c):
                        edges.append(edge_weight * max(0.0, margin - divergence))
                    else:
                        others.append(other_weight * divergence)
        total += sum(float(np.mean(each)) for each in (edges, others) if each)
    return total


def cross_entropy(logits, labels, ignore_index=255, weight=None):
    """Mean over valid pixels of ``- weight log softmax``; 0 without any."""
    logits, labels = np.asarray(logits, float), np.asarray(labels)
    costs = []
    for b, i, j in np.ndindex(labels.shape):
        if labels[b, i, j] != ignore_index:
            pixel = logits[b, :, i, j] - logits[b, :, i, j].max()
            cost = math.log(np.exp(pixel).sum()) - pixel[labels[b, i, j]]
            costs.append(cost if weight is None else float(weight[b, i, j]) * cost)
    return float(np.mean(costs)) if costs else 0.0


def pairs(shape, size):
    """Each pixel with each of its neighbours ``size`` away in the image."""
    height, width = shape
    for i, j in np.ndindex(height, width):
        for m in (i - size, i, i + size):
            for n in (j - size, j, j + size):
                if (m, n) != (i, j) and 0 <= m < height and 0 <= n < width:
                    yield (i, j), (m, n)


def kl(neighbour, centre):
    """Of two Bernoulli variables, each probability at least 1e-4."""
    q, p = max(neighbour, 1e-4), max(centre, 1e-4)
    not_q, not_p = max(1 - neighbour, 1e-4), max(1 - centre, 1e-4)
    return q * math.log(q / p) + not_q * math.log(not_q / not_p)


def softmax(image):
    powers = np.exp(image - image.max(axis=0))
    return powers / powers.sum(axis=0)


def shrink(logits, labels, factor):
    """Labels at the nearest pixel, logits bilinearly between aligned corners."""
    if factor == 1:
        return logits, labels
    height, width = (side // factor for side in labels.shape[1:])
    rows = [math.floor(i * labels.shape[1] / height) for i in range(height)]
    columns = [math.floor(j * labels.shape[2] / width) for j in range(width)]
    small = np.empty((*logits.shape[:2], height, width))
    for i, j in np.ndindex(height, width):
        y, x = at(i, height, labels.shape[1]), at(j, width, labels.shape[2])
        top, left = math.floor(y), math.floor(x)
        down, right = min(top + 1, labels.shape[1] - 1), min(left + 1, labels.shape[2] - 1)
        upper = lerp(logits[..., top, left], logits[..., top, right], x - left)
        lower = lerp(logits[..., down, left], logits[..., down, right], x - left)
        small[..., i, j] = lerp(upper, lower, y - top)
    return small, labels[:, rows][:, :, columns]


def at(position, after, before):
    return position * (before - 1) / (after - 1) if after > 1 else 0.0


def lerp(a, b, t):
    return a * (1 - t) + b * t
