"""Which parameters the constructor decays, and at which learning rate."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmseg_rmi.optim import WeightsOnlyDecayConstructor

pytestmark = pytest.mark.usefixtures('mmseg_scope')
LR, DECAY = 0.1, 1e-4


def network() -> nn.Module:
    def part() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.GroupNorm(1, 3))

    return nn.ModuleDict(dict(backbone=part(), decode_head=part()))


def options(model: nn.Module, **paramwise) -> dict[str, tuple[float, float]]:
    """Map each parameter's name to its learning rate and weight decay."""
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='SGD', lr=LR, weight_decay=DECAY),
            constructor='WeightsOnlyDecayConstructor',
            **paramwise,
        ),
    )
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }


def test_without_custom_keys_only_convolution_weights_decay():
    assert {name: decay for name, (_, decay) in options(network()).items()} == {
        f'{part}.{layer}.{kind}': DECAY if (layer, kind) == (0, 'weight') else 0.0
        for part in ('backbone', 'decode_head')
        for layer in (0, 1, 2)
        for kind in ('weight', 'bias')
    }


def test_a_head_with_its_own_rate_keeps_biases_and_norms_undecayed():
    found = options(network(), paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))))
    assert found == {
        f'{part}.{layer}.{kind}': (lr, DECAY if (layer, kind) == (0, 'weight') else 0.0)
        for part, lr in (('backbone', LR), ('decode_head', 10 * LR))
        for layer in (0, 1, 2)
        for kind in ('weight', 'bias')
    }


def test_the_longer_key_wins_for_weights_and_vectors_alike():
    keys = {'decode_head': dict(lr_mult=10.0), 'decode_head.0': dict(lr_mult=3.0, decay_mult=0.5)}
    found = options(network(), paramwise_cfg=dict(custom_keys=keys))
    assert found['decode_head.0.weight'] == pytest.approx((3 * LR, DECAY / 2))
    assert found['decode_head.0.bias'] == pytest.approx((3 * LR, 0.0))
    assert found['decode_head.1.bias'] == pytest.approx((10 * LR, 0.0))


def test_multipliers_of_biases_hold():
    found = options(network(), paramwise_cfg=dict(bias_lr_mult=2.0))
    assert found['backbone.0.bias'] == (2 * LR, 0.0)
    assert found['backbone.0.weight'] == (LR, DECAY)


def test_a_matrix_whose_name_begins_as_a_vector_does_is_decayed():
    model = nn.Module()
    model.scale = nn.Parameter(torch.ones(3))
    model.scale_proj = nn.Conv2d(3, 3, 1)
    found = {name: decay for name, (_, decay) in options(model).items()}
    assert found == {'scale': 0.0, 'scale_proj.weight': DECAY, 'scale_proj.bias': 0.0}


def test_a_scalar_is_not_decayed():
    model = nn.Module()
    model.temperature = nn.Parameter(torch.tensor(1.0))
    assert options(model) == {'temperature': (LR, 0.0)}


def test_one_constructor_serves_several_models():
    wrapper_cfg = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=LR, weight_decay=DECAY))
    build = WeightsOnlyDecayConstructor(wrapper_cfg)
    for model in (network(), nn.Sequential(nn.Conv2d(3, 3, 1))):
        groups = build(model).optimizer.param_groups
        assert sorted({group['weight_decay'] for group in groups}) == [0.0, DECAY]
