"""Under mmengine's activation_checkpointing, all gradients stay as they are."""

import copy

import pytest
import torch
from mmengine.runner import turn_on_activation_checkpointing
from mmengine.structures import PixelData
from mmseg.models.decode_heads import PSPHead
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_rmi.decode_heads import DeepLabV3PlusHead, RMIASPPHead

COMMON = dict(in_channels=3, channels=2, num_classes=2)


def deeplab() -> nn.Module:
    return DeepLabV3PlusHead(**COMMON, c1_in_channels=3, c1_channels=2, dilations=(1, 2))


def gradients(model: nn.Module) -> list[torch.Tensor]:
    """Gradients of the weights and of the features, with the same dropout each time."""
    random = torch.Generator().manual_seed(0)
    features = [torch.randn(2, 3, 8, 8, generator=random).requires_grad_() for _ in range(2)]
    labels = torch.randint(0, 2, (2, 1, 32, 32), generator=random)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=each)) for each in labels]
    torch.manual_seed(1)
    losses = model.decode_head.loss(features, samples, {})
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    used = [*model.parameters(), features[1]]
    assert all(each.grad is not None for each in used)
    return [each.grad for each in used]


@pytest.mark.parametrize(
    ('make', 'modules'),
    [
        (deeplab, 'decode_head'),
        (deeplab, ['decode_head.aspp', 'decode_head.decoder']),
        (deeplab, ['decode_head.aspp.branches']),  # which return a list
        (lambda: RMIASPPHead(**COMMON, dilations=(1, 2)), ['decode_head']),
        (lambda: PSPHead(**COMMON, pool_scales=(1, 2)), ['decode_head.psp_modules']),
    ],
)
def test_recomputing_activations_changes_no_gradient(make, modules):
    model = nn.Module()
    model.decode_head = make()
    recomputing = copy.deepcopy(model)
    turn_on_activation_checkpointing(recomputing, modules)
    for plain, recomputed in zip(gradients(model), gradients(recomputing), strict=True):
        torch.testing.assert_close(recomputed, plain)
