"""The losses under meta and fake tensors, torch.func and whole graphs."""

import pytest
import torch
from torch._subclasses import FakeTensorMode

from helpers.batches import make_batch
from helpers.tolerances import assert_close
from mmseg_rmi.losses import (
    AffinityFieldLoss,
    RMILoss,
    SigmoidCrossEntropyLoss,
    affinity_field_loss,
)

every_loss = pytest.mark.parametrize(
    'loss',
    [RMILoss(), SigmoidCrossEntropyLoss(), AffinityFieldLoss()],
    ids=['rmi', 'bce', 'affinity'],
)


@every_loss
def test_meta_tensors_give_shapes_and_types(loss):
    logits = torch.zeros(2, 3, 32, 32, device='meta', dtype=torch.half, requires_grad=True)
    value = loss(logits, torch.zeros(2, 32, 32, device='meta', dtype=torch.long))
    value.backward()
    assert (value.shape, value.dtype) == ((), torch.float32)
    assert (logits.grad.shape, logits.grad.dtype) == (logits.shape, torch.half)


@every_loss
def test_fake_tensors_give_shapes(loss):
    with FakeTensorMode():
        logits = torch.zeros(2, 3, 32, 32, requires_grad=True)
        loss(logits, torch.zeros(2, 32, 32, dtype=torch.long)).backward()
    assert logits.grad.shape == logits.shape


@every_loss
def test_the_functional_gradient_is_that_of_autograd(loss):
    logits, labels = make_batch()
    gradient = torch.func.grad(lambda logits: loss(logits, labels))(logits)
    logits.requires_grad_()
    loss(logits, labels).backward()
    assert_close(gradient, logits.grad)


@pytest.mark.skipif(not hasattr(torch.library, 'custom_op'), reason='torch 2.4 has them first')
def test_the_affinity_field_loss_decays_within_one_graph(monkeypatch):
    logits, labels = make_batch()
    loss, progress = AffinityFieldLoss(), {'now': 0.0}
    monkeypatch.setattr(affinity_field_loss, 'training_progress', lambda: progress['now'])
    compiled = torch.compile(loss, backend='aot_eager', fullgraph=True)
    values = []
    for progress['now'] in (0.0, 0.5, 1.0):
        with torch.compiler.set_stance('fail_on_recompile' if values else 'default'):
            values.append(compiled(logits, labels))
        assert_close(values[-1], loss(logits, labels))
    assert values[0] > values[1] > values[2]
