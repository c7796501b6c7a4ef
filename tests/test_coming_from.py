"""The lines of docs/coming_from.md give the values and gradients of the implementations they name.

The formulas are written down from the constants and reductions of the originals' sources: pooling
and its padding, ridge, what is summed and what is averaged, the small constants added on the way.
"""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from helpers.batches import make_batch
from mmseg_rmi import RMILoss

PAGE = Path(__file__).parents[1] / 'docs' / 'coming_from.md'
CLASSES, RADIUS = 4, 3


def lines_of(section: str) -> list[dict]:
    """What the Python blocks of a section define."""
    (text,) = re.findall(rf'^## {section}$(.*?)(?=^## |\Z)', PAGE.read_text(), re.M | re.S)
    found = []
    for block in re.findall(r'^```python\n(.*?)^```', text, re.M | re.S):
        names: dict = {}
        exec(block, names)
        found.append(names)
    return found


def region_term(probability: Tensor, truth: Tensor, pool: str, side: int, ridge: float) -> Tensor:
    """Sum over classes, mean over images, of half the log determinant over the dimension."""
    pooling = {'max': F.max_pool2d, 'avg': F.avg_pool2d}[pool]
    y, p = (
        F.unfold(pooling(maps, side, side, side // 2).flatten(0, 1)[:, None], RADIUS)
        for maps in (truth, probability)
    )
    y, p = (points - points.mean(2, keepdim=True) for points in (y, p))
    ridges = ridge * torch.eye(RADIUS**2, dtype=y.dtype)
    cross = y @ p.mT
    left = y @ y.mT - cross @ torch.linalg.inv(p @ p.mT + ridges) @ cross.mT
    diagonal = torch.linalg.cholesky(left + ridges).diagonal(dim1=1, dim2=2)
    half_log_determinant = torch.log(diagonal + 1e-8).sum(1)
    return half_log_determinant.view(len(truth), -1).sum(1).mean() / RADIUS**2


def released(logits, labels, pool, side, ridge=5e-4, bce_share=0.5, region_share=0.5) -> Tensor:
    """The authors' loss, and what NVIDIA, PaddleSeg and openseg made of it."""
    valid = (labels < CLASSES)[:, None]
    truth = F.one_hot(labels * valid[:, 0], CLASSES).movedim(3, 1) * valid
    truth = truth.to(logits.dtype)
    bce = F.binary_cross_entropy_with_logits(logits, truth, reduction='none') * valid
    probability = logits.sigmoid() * valid + 1e-6
    region = region_term(probability, truth, pool, side, ridge)
    return bce_share * bce.sum() / (valid.sum() + 1) + region_share * region


def rmi_pytorch(logits: Tensor, labels: Tensor) -> Tensor:
    truth = F.one_hot(labels, CLASSES).movedim(3, 1).to(logits.dtype)
    bce = F.binary_cross_entropy_with_logits(logits, truth)
    return 0.5 * bce + 0.5 * region_term(logits.sigmoid(), truth, 'max', 3, 5e-4)


def compare(criterion, original, void: bool = True, tolerance: float = 1e-5) -> None:
    """Gradients agree, and values do but for the constant that the originals do not subtract."""
    logits, labels = make_batch(3, CLASSES, 48, 45, seed=2, void=void)
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    found, expected = criterion(ours, labels), original(theirs, labels)
    found.backward()
    expected.backward()
    largest = theirs.grad.abs().max().item()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=tolerance * largest)
    settings = criterion.settings
    constant = CLASSES * (1 - settings.loss_lambda) * settings.floor * criterion.loss_weight
    torch.testing.assert_close(found + constant, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('section', 'block', 'original'),
    [
        ("The authors' code", 0, dict(pool='avg', side=4)),
        ("The authors' code", 1, dict(pool='max', side=3)),
        ('NVIDIA semantic-segmentation', 0, dict(pool='avg', side=4)),
        ('PaddleSeg', 0, dict(pool='max', side=3, bce_share=0.0, region_share=1.0)),
        ("openseg's MMSegmentation", 0, dict(pool='max', side=3, ridge=1e-3)),
    ],
)
def test_line_gives_the_loss_of_the_original(section: str, block: int, original: dict) -> None:
    criterion = lines_of(section)[block]['criterion']
    compare(criterion, lambda logits, labels: released(logits, labels, **original))


def test_line_of_paddleseg_gives_its_mix() -> None:
    def mixed(logits: Tensor, labels: Tensor) -> Tensor:
        region = released(logits, labels, 'max', 3, bce_share=0.0, region_share=0.5)
        return 0.5 * F.cross_entropy(logits, labels, ignore_index=255) + region

    # But for one pixel in the mean of the cross entropy.
    compare(lines_of('PaddleSeg')[1]['criterion'], mixed, tolerance=2e-4)


def test_auxiliary_head_of_nvidia_is_the_pixel_wise_term() -> None:
    logits, labels = make_batch(2, CLASSES, 48, 45)
    found = lines_of('NVIDIA semantic-segmentation')[0]['auxiliary'](logits, labels)
    expected = released(logits, labels, 'avg', 4, bce_share=1.0, region_share=0.0)
    torch.testing.assert_close(found, expected)


def test_line_of_rmi_pytorch_gives_its_loss() -> None:
    # But for the 1 that the paper's code adds to the number of pixels, one part in some 6,000.
    criterion = lines_of('rmi-pytorch')[0]['criterion']
    compare(criterion, rmi_pytorch, void=False, tolerance=2e-4)


def test_other_weighing_of_the_authors_is_a_lambda_and_a_weight() -> None:
    share = 0.3  # lambda_way=0
    criterion = RMILoss(loss_lambda=1 / (1 + share), loss_weight=1 + share)
    compare(
        criterion,
        lambda logits, labels: released(
            logits, labels, 'avg', 4, bce_share=1.0, region_share=share
        ),
    )


def test_nonnegative_false_gives_the_value_of_the_original() -> None:
    logits, labels = make_batch(2, CLASSES, 48, 45)
    found = RMILoss(nonnegative=False)(logits, labels)
    torch.testing.assert_close(found, released(logits, labels, 'avg', 4), rtol=1e-5, atol=1e-5)
