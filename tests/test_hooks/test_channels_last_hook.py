"""A model laid out anew computes the same."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmseg_rmi.hooks import ChannelsLastHook


@pytest.mark.parametrize('stage', ['before_train', 'before_test'])
def test_layout_changes_and_values_do_not(stage):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1))
    images = torch.rand(2, 3, 9, 11)
    parameters, expected = list(model.parameters()), model(images)
    assert not model[0].weight.is_contiguous(memory_format=torch.channels_last)

    getattr(ChannelsLastHook(), stage)(SimpleNamespace(model=model))

    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[0](images).is_contiguous(memory_format=torch.channels_last)
    # An optimizer that was built before still holds them.
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    torch.testing.assert_close(model(images), expected)
