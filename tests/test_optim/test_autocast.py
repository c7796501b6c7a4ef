"""Training in bfloat16 on any device."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

import mmseg_rmi  # noqa: F401 (registers the wrapper)


def train(wrapper_type: str) -> tuple[torch.dtype, torch.Tensor]:
    """Train a linear map by a step; return the type it computed in and its new weight."""
    torch.manual_seed(0)
    model, image = nn.Linear(32, 32), torch.randn(4, 32)
    wrapper = build_optim_wrapper(
        model, dict(type=wrapper_type, optimizer=dict(type='SGD', lr=0.1))
    )
    with wrapper.optim_context(model):
        output = model(image)
    wrapper.update_params(output.float().square().mean())
    return output.dtype, model.weight.detach()


@pytest.mark.usefixtures('mmseg_scope')
def test_the_forward_pass_is_in_the_type_and_the_weights_stay_in_float32():
    (narrow, trained), (wide, exact) = train('AutocastOptimWrapper'), train('OptimWrapper')
    assert (narrow, wide) == (torch.bfloat16, torch.float32)
    assert trained.dtype == torch.float32
    torch.testing.assert_close(trained, exact, atol=1e-4, rtol=1e-2)
    assert not torch.equal(trained, exact)
