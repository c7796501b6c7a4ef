"""The objective once more, in NumPy, from Eq. 9 to 16 of the paper alone: slow and obvious.

It shares no code and no trick with the package: pooling cell by cell, regions pixel by pixel,
``M`` as the plain difference of Eq. 13, its inverse as an inverse, its determinant as a
determinant. ``exact=True`` takes the statistics in numbers of 60 digits.
"""

import math

import mpmath
import numpy as np

mpmath.mp.dps = 60


def objective(
    logits,
    labels,
    *,
    region_size=3,
    downsample='avg',
    downsample_factor=4,
    loss_lambda=0.5,
    covariance='sum',
    ridge=5e-4,
    ignored='zero',
    nonnegative=True,
    ignore_index=255,
    pixel_term='bce',
    activation='sigmoid',
    class_weight=None,
    weight=None,
    exact=False,
):
    """Eq. 16 of logits ``B x C x H x W`` and labels ``B x H x W``."""
    logits, labels = np.asarray(logits, dtype=float), np.asarray(labels)
    probability = np.exp(log_probability(logits, activation))
    region_sum = 0.0
    for image_probability, image_labels in zip(probability, labels, strict=True):
        valid = image_labels != ignore_index
        cells = Cells(downsample, downsample_factor, valid.shape)
        kept = kept_regions(cells, valid, region_size, ignored)
        if len(kept) < 2:
            continue
        for c, p in enumerate(image_probability):
            y = class_map(image_labels, valid, c, channels=len(image_probability))
            bound = lower_bound(
                regions(cells.of_truth(y), region_size)[:, kept],
                regions(cells.of_probability(p * valid), region_size)[:, kept],
                ridge,
                covariance,
                exact,
            )
            floor = 0.5 * math.log(ridge) if nonnegative else 0.0
            region_sum += -bound - floor
    pixels = cross_entropy(logits, labels, ignore_index, weight, class_weight, pixel_term)
    return loss_lambda * pixels + (1 - loss_lambda) * region_sum / len(logits)


def class_map(labels, valid, channel, channels):
    """The ground truth y of a channel: its class, but class 1 for a single channel."""
    return ((labels == (1 if channels == 1 else channel)) & valid).astype(float)


def log_probability(logits, activation):
    if activation == 'sigmoid':
        return -softplus(-logits)
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def cross_entropy(logits, labels, ignore_index, weight, class_weight=None, pixel_term='bce'):
    """Eq. 1 with a sigmoid for every class or a softmax, over the valid pixels and one more."""
    log_softmax = log_probability(logits, 'softmax')
    class_weight = np.ones(logits.shape[1]) if class_weight is None else np.asarray(class_weight)
    total, pixels = 0.0, 0
    for image, (image_logits, image_labels) in enumerate(zip(logits, labels, strict=True)):
        valid = image_labels != ignore_index
        pixels += valid.sum()
        for c, x in enumerate(image_logits):
            y = class_map(image_labels, valid, c, channels=len(image_logits))
            terms = y * softplus(-x) + (1 - y) * softplus(x)  # -log p, -log(1 - p)
            if pixel_term == 'ce':
                terms = -y * log_softmax[image, c]
            terms = class_weight[c] * terms
            total += (terms if weight is None else terms * np.asarray(weight)[image])[valid].sum()
    return total / (pixels + 1)


def softplus(x):
    return np.logaddexp(0, x)


class Cells:
    """The cells of "Downsampling" (section 4), each a slice of rows and a slice of columns."""

    def __init__(self, method, factor, shape):
        self.method, self.factor, self.shape = method, factor, shape

    def of_truth(self, image):
        if self.method == 'interp' and self.factor > 1:
            return self.sampled(image, nearest)
        return self.pooled(image)

    def of_probability(self, image):
        if self.method == 'interp' and self.factor > 1:
            return self.sampled(image, bilinear)
        return self.pooled(image)

    def pooled(self, image):
        if self.factor == 1:
            return image
        area = self.factor**2  # padding counts in the average
        reduce = np.max if self.method == 'max' else lambda cell: np.sum(cell) / area
        rows, columns = (self.spans(side) for side in self.shape)
        return np.array([[reduce(image[i, j]) for j in columns] for i in rows])

    def spans(self, side):
        """Cells of DF pixels, side by side, the first of them starting DF // 2 outside."""
        starts = range(-(self.factor // 2), side + self.factor // 2 - self.factor + 1, self.factor)
        return [slice(max(start, 0), start + self.factor) for start in starts]

    def sampled(self, image, at):
        height, width = (side // self.factor for side in self.shape)
        cells = [[at(image, i, j, height, width) for j in range(width)] for i in range(height)]
        return np.array(cells)


def nearest(image, i, j, height, width):
    return image[i * image.shape[0] // height, j * image.shape[1] // width]


def bilinear(image, i, j, height, width):
    """Corners of both grids aligned."""
    row = i * (image.shape[0] - 1) / max(height - 1, 1)
    column = j * (image.shape[1] - 1) / max(width - 1, 1)
    value = 0.0
    for r in {math.floor(row), math.ceil(row)}:
        for c in {math.floor(column), math.ceil(column)}:
            value += (1 - abs(row - r)) * (1 - abs(column - c)) * image[r, c]
    return value


def regions(image, size):
    """Figure 1: a column for every R x R window, of the R * R values in it."""
    height, width = image.shape
    return np.array(
        [
            image[i : i + size, j : j + size].ravel()
            for i in range(height - size + 1)
            for j in range(width - size + 1)
        ]
    ).T


def kept_regions(cells, valid, size, ignored):
    """Numbers of the regions that count."""
    if ignored == 'zero':
        number = regions(cells.of_probability(valid.astype(float)), size).shape[1]
        return list(range(number)) if valid.any() else []
    touched = Cells('max', cells.factor, cells.shape).pooled((~valid).astype(float))
    return [n for n, region in enumerate(regions(touched, size).T) if not region.any()]


def lower_bound(truth, prediction, ridge, covariance, exact=False):
    """I_l of Eq. 13 to 15, of points in columns."""
    if exact:
        truth, prediction, ridge = digits(truth), digits(prediction), mpmath.mpf(ridge)
    dimension, number = truth.shape
    truth = truth - truth.sum(axis=1, keepdims=True) / number
    prediction = prediction - prediction.sum(axis=1, keepdims=True) / number
    divisor = {'sum': 1, 'mean': number}.get(covariance)
    if covariance == 'relative':
        divisor = np.trace(truth.dot(truth.T)) / dimension
    if divisor == 0:
        return -log_determinant(ridge * np.eye(dimension)) / (2 * dimension)
    covariance_y = truth.dot(truth.T) / divisor
    covariance_p = prediction.dot(prediction.T) / divisor
    covariance_yp = truth.dot(prediction.T) / divisor

    xi = ridge * np.eye(dimension)
    posterior = covariance_y - covariance_yp.dot(inverse(covariance_p + xi)).dot(covariance_yp.T)
    return -log_determinant(posterior + xi) / (2 * dimension)


digits = np.vectorize(mpmath.mpf, otypes=[object])


def inverse(matrix):
    if matrix.dtype == object:
        return np.array(mpmath.inverse(mpmath.matrix(matrix.tolist())).tolist(), dtype=object)
    return np.linalg.inv(matrix)


def log_determinant(matrix):
    if matrix.dtype == object:
        return float(mpmath.log(mpmath.det(mpmath.matrix(matrix.tolist()))))
    return np.linalg.slogdet(matrix).logabsdet


def gradient(logits, labels, places, step=1e-5, **settings):
    """Central differences of :func:`objective` at some places ``(b, c, i, j)`` of the logits."""
    slopes = []
    for place in places:
        above, below = (np.asarray(logits, dtype=float).copy() for _ in range(2))
        above[place] += step
        below[place] -= step
        rise = objective(above, labels, **settings) - objective(below, labels, **settings)
        slopes.append(rise / (2 * step))
    return np.array(slopes)
