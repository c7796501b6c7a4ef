"""The lower bound of the mutual information of two sets of regions (section 3 of the paper).

Shapes: ``Y`` (truth) and ``P`` (prediction) are centred points, ``... x d x n``, scaled such that
``Y @ Y.mT`` is the covariance of Y; see :func:`mmseg_rmi.functional.regions.paired_points`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmseg_rmi.functional.regions import LEAST_RIDGE


def posterior_covariance(truth: Tensor, prediction: Tensor, ridge: float) -> Tensor:
    """Compute M, the covariance of the truth that the prediction leaves unexplained (Eq. 12, 13).

    ``M = S_Y - S_YP (S_P + xi I)^-1 S_YP^T``, written as the covariance of the residual of the
    regression ``A = S_YP (S_P + xi I)^-1`` (Eq. 11), ``M = E E^T + xi A A^T`` with ``E = Y - A P``:
    the same matrix, but positive semidefinite whatever the rounding.

    Args:
        truth: Y, ``... x d x n``.
        prediction: P, ``... x d x n``.
        ridge: xi.

    Returns:
        ``... x d x d``.

    Example:
        >>> Y = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
        >>> posterior_covariance(Y, torch.tensor([[1.0, 1.0, -1.0, -1.0]]), 1e-3)  # uncorrelated
        tensor([[4.]])
    """
    covariance = prediction @ prediction.mT
    diagonal = ridge * torch.eye(covariance.shape[-1], dtype=truth.dtype, device=truth.device)
    factor = torch.linalg.cholesky_ex(covariance + diagonal).L
    regression = torch.cholesky_solve(prediction @ truth.mT, factor).mT
    residual = truth - regression @ prediction
    return residual @ residual.mT + ridge * regression @ regression.mT


def log_volume(truth: Tensor, prediction: Tensor, ridge: float) -> Tensor:
    """Compute ``log det(M + xi I) - d log xi``: 0 for an absent class, else greater, in nats.

    By Cholesky factorisation (Eq. 15) where float64 resolves the ridge beside the largest
    covariance, else by :func:`square_root_log_volume`.

    Args:
        truth: Y, ``... x d x n``.
        prediction: P, ``... x d x n``.
        ridge: xi.

    Returns:
        ``...``, one value per pair of matrices.
    """
    if truth.dtype != torch.float64 or ridge < LEAST_RIDGE:
        return square_root_log_volume(truth, prediction, ridge)
    posterior = posterior_covariance(truth, prediction, ridge) / ridge
    identity = torch.eye(posterior.shape[-1], dtype=truth.dtype, device=truth.device)
    factor = torch.linalg.cholesky_ex(posterior + identity).L
    return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)


def region_score(truth: Tensor, prediction: Tensor, ridge: float) -> Tensor:
    """Score how much of the truth's regions the prediction explains, from 0 to 1 (as the truth).

    With ``V(P) = log det(M + xi I)``, ``(V(0) - V(P)) / (V(0) - V(Y))``, clamped to [0, 1]. Unlike
    the loss it depends neither on the size of an image nor on the number of classes.

    Args:
        truth: Y, ``... x d x n``.
        prediction: P, ``... x d x n``.
        ridge: xi.

    Returns:
        ``...``; NaN where the truth does not vary: an absent class, or one that fills the image.

    Example:
        >>> Y = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
        >>> region_score(Y, Y, 1e-3), region_score(Y, Y * 0, 1e-3), region_score(Y * 0, Y, 1e-3)
        (tensor(1.), tensor(0.), tensor(nan))
    """
    unexplained = log_volume(truth, torch.zeros_like(truth), ridge)
    explained = unexplained - log_volume(truth, prediction, ridge)
    explicable = unexplained - log_volume(truth, truth, ridge)
    varies = truth.flatten(-2).abs().amax(dim=-1) > 0
    return (explained / explicable).clamp(0, 1).where(varies, torch.nan)


def square_root_log_volume(truth: Tensor, prediction: Tensor, ridge: float) -> Tensor:
    """Compute :func:`log_volume` without ever squaring a map, for float32 and tiny ridges.

    A covariance formed in float32 may be off by more than xi, and its factorisation then fails.
    ``S_P + xi I`` and ``M + xi I`` are Gram matrices of ``[P, sqrt(xi) I]`` and of
    ``[Y - A P, sqrt(xi) A, sqrt(xi) I]``, so triangular factors come from QR decompositions of
    these (the square-root form of Kalman filtering), whose diagonals are at least ``sqrt(xi)``.

    Args:
        truth: Y, ``... x d x n``.
        prediction: P, ``... x d x n``.
        ridge: xi.

    Returns:
        ``...``, one value per pair of matrices.
    """
    root = ridge**0.5
    identity = torch.eye(truth.shape[-2], dtype=truth.dtype, device=truth.device)
    identity = identity.expand(*truth.shape[:-1], -1)
    regressors = torch.cat([prediction, root * identity], dim=-1)
    orthogonal, factor = torch.linalg.qr(regressors.mT)
    residual = torch.cat([truth, torch.zeros_like(identity)], dim=-1)
    for _ in range(2):  # a perfect map leaves so little that the first rounding must be corrected
        projected = orthogonal.mT @ residual.mT
        regression = torch.linalg.solve_triangular(factor, projected, upper=True).mT
        residual = residual - regression @ regressors
    joined = torch.cat([residual / root, identity], dim=-1)
    return 2 * torch.linalg.qr(joined.mT).R.diagonal(dim1=-2, dim2=-1).abs().log().sum(dim=-1)
