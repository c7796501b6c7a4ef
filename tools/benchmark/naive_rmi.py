"""Compute the released formulas as they stand: what the benchmark measures this project against.

Region size 3, average pooling by 4, lambda 0.5, differentiated by autograd.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def naive_rmi(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute Eq. 16 with the constants of the released code; inputs as ``RMILoss`` takes them."""
    classes, dimension, ridge = logits.shape[1], 9, 5e-4
    valid = labels < classes
    truth = F.one_hot(labels * valid, classes).float() * valid[..., None]
    truth = truth.permute(0, 3, 1, 2).contiguous()
    mask = valid[:, None].float()

    cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, mask, reduction='sum')
    pixel_term = cross_entropy / (mask.sum() + 1)

    probability = logits.sigmoid() * mask + 1e-6
    truth_points = _points(F.avg_pool2d(truth, 4, 4, 2))
    points = _points(F.avg_pool2d(probability, 4, 4, 2))
    truth_points = truth_points - truth_points.mean(dim=-1, keepdim=True)
    points = points - points.mean(dim=-1, keepdim=True)

    identity = torch.eye(dimension, dtype=points.dtype, device=points.device)
    inverse = torch.inverse(points @ points.mT + ridge * identity)
    cross = truth_points @ points.mT
    posterior = truth_points @ truth_points.mT - cross @ inverse @ cross.mT
    factor = torch.linalg.cholesky(posterior + ridge * identity)
    log_determinant = 2 * torch.log(factor.diagonal(dim1=-2, dim2=-1) + 1e-8).sum(dim=-1)
    region_term = (log_determinant / (2 * dimension)).mean(dim=0).sum()
    return 0.5 * pixel_term + 0.5 * region_term.float()


def _points(maps: Tensor) -> Tensor:
    height, width = maps.shape[2] - 2, maps.shape[3] - 2
    shifted = [maps[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return torch.stack(shifted, dim=2).flatten(3).double()
