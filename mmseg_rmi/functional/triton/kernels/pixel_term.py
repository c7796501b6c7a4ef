"""The pixel term, class by class, and its gradient by the logits.

With y the one-hot target of a pixel and s the sigmoid:

* binary cross entropy, ``sum_c softplus(x_c) - x_y``, has the gradient ``s(x_c) - y_c``. With
  ``decay = exp(-|x|)``, ``sum_c softplus(x_c) = sum_c max(x_c, 0) + log prod_c (1 + decay_c)``: one
  logarithm for many classes;
* softmax cross entropy, ``log sum_c exp(x_c) - x_y``, has ``softmax_c(x) - y_c``.

What an infinite logit would leave finite, ``0 * x`` makes NaN.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sigmoid(x, decay):
    """Return the sigmoid of x, decay being ``exp(-|x|)``."""
    return tl.where(x >= 0, 1.0, decay) / (1.0 + decay)


@triton.jit
def add_pixel_term(
    loss,
    product,
    x,
    decay,
    own,
    class_weight,
    c,
    CROSS_ENTROPY: tl.constexpr,
    CLASS_WEIGHT: tl.constexpr,
):
    """Add one class's part to the loss of pixels, and its factor to their product."""
    if CROSS_ENTROPY:
        loss += 0.0 * x - tl.where(own, x, 0.0)
    elif CLASS_WEIGHT:
        entropy = tl.maximum(x, 0.0) + 0.0 * x + tl.log(1.0 + decay)
        loss += tl.load(class_weight + c) * (entropy - tl.where(own, x, 0.0))
    else:
        loss += tl.maximum(x, 0.0) + 0.0 * x - tl.where(own, x, 0.0)
        product *= 1.0 + decay
    return loss, product


@triton.jit
def add_exp(total, greatest, x):
    """Add ``exp(x)`` to a sum that is kept as ``total * exp(greatest)``."""
    ahead = x - greatest
    ratio = tl.exp(-tl.abs(ahead))
    total = tl.where(ahead > 0, total * ratio + 1.0, total + ratio)
    return total, tl.maximum(greatest, x)


@triton.jit
def finish_cross_entropy(loss, norm, target, class_weight, CLASS_WEIGHT: tl.constexpr):
    """Complete the softmax cross entropy of pixels by their log-sum-exp; 0 without a channel."""
    loss = tl.where(target >= 0, loss + norm, loss * 0.0 + norm * 0.0)
    if CLASS_WEIGHT:
        loss *= tl.load(class_weight + target, mask=target >= 0, other=0.0)
    return loss


@triton.jit
def scale_of_pixels(
    target,
    valid,
    pixel_weight,
    class_weight,
    places,
    inside,
    pixel_scale,
    CROSS_ENTROPY: tl.constexpr,
    PIXEL_WEIGHT: tl.constexpr,
    CLASS_WEIGHT: tl.constexpr,
):
    """Return the factor of every pixel's share of the pixel term."""
    scale = tl.where(valid, pixel_scale, 0.0)
    if PIXEL_WEIGHT:
        scale *= tl.load(pixel_weight + places, mask=inside, other=0.0).to(tl.float32)
    if CROSS_ENTROPY:
        scale = tl.where(target >= 0, scale, 0.0)
        if CLASS_WEIGHT:
            scale *= tl.load(class_weight + target, mask=target >= 0, other=0.0)
    return scale


@triton.jit
def pixel_gradient(
    x,
    c,
    own,
    scale,
    norm,
    class_weight,
    CROSS_ENTROPY: tl.constexpr,
    CLASS_WEIGHT: tl.constexpr,
):
    """Return the gradient of the pixel term by one class's logits."""
    if CROSS_ENTROPY:
        gradient = scale * (tl.exp(x - norm) - own.to(tl.float32))
    else:
        p = sigmoid(x, tl.exp(-tl.abs(x)))
        gradient = scale * (p - own.to(tl.float32))
        if CLASS_WEIGHT:
            gradient *= tl.load(class_weight + c)
    return gradient
