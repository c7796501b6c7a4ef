"""The losses under meta and fake tensors, torch.func and whole graphs."""

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad

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


@every_loss
def test_vmap_gives_the_losses_and_gradients_of_the_images(loss):
    logits, labels = make_batch()
    of_image = lambda logits, labels: loss(logits[None], labels[None])  # noqa: E731
    values = torch.func.vmap(of_image)(logits, labels)
    gradients = torch.func.vmap(torch.func.grad(of_image))(logits, labels)
    for value, gradient, *image in zip(values, gradients, logits, labels, strict=True):
        image[0] = image[0].clone().requires_grad_()
        expected = of_image(*image)
        expected.backward()
        assert_close(value, expected)
        assert_close(gradient, image[0].grad)


@every_loss
def test_forward_mode_gives_the_derivative_along_a_direction(loss):
    logits, labels = make_batch()
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)).double()
    with forward_ad.dual_level():
        value = loss(forward_ad.make_dual(logits, direction), labels)
        derivative = forward_ad.unpack_dual(value).tangent
    logits.requires_grad_()
    loss(logits, labels).backward()
    assert_close(derivative, (logits.grad * direction).sum())


@every_loss
def test_a_vectorized_backward_pass_scales_the_gradient(loss):
    logits, labels = make_batch()
    logits.requires_grad_()
    value, scales = loss(logits, labels), torch.tensor([1.0, -2.0]).double()
    for _ in range(2):
        options = dict(is_grads_batched=True, retain_graph=True)
        (gradients,) = torch.autograd.grad(value, logits, scales, **options)
        (gradient,) = torch.autograd.grad(value, logits, retain_graph=True)
        assert_close(gradients[0], gradient)
        assert_close(gradients[1], -2 * gradient)


@pytest.mark.parametrize('impl', ['torch', 'triton'])
def test_an_implementation_that_cannot_be_transformed_says_so(impl):
    logits, labels = make_batch()
    loss = RMILoss(impl=impl)
    with pytest.raises(ValueError, match=f"impl='{impl}' works neither .* use impl='auto'"):
        torch.func.grad(lambda logits: loss(logits, labels))(logits)
    with forward_ad.dual_level(), pytest.raises(ValueError, match="use impl='auto'"):
        loss(forward_ad.make_dual(logits, logits), labels)


def test_the_remedy_for_second_derivatives_works():
    logits, labels = make_batch(height=16, width=16)
    loss, remedy = SigmoidCrossEntropyLoss(), RMILoss(loss_lambda=1, impl='reference')
    scale = torch.ones((), dtype=torch.float64)
    with pytest.raises(RuntimeError, match='loss_lambda=1 is SigmoidCrossEntropyLoss'):
        torch.autograd.functional.hessian(lambda scale: loss(scale * logits, labels), scale)
    second = torch.autograd.functional.hessian(lambda scale: remedy(scale * logits, labels), scale)
    assert_close(second, torch.func.hessian(lambda scale: loss(scale * logits, labels))(scale))


@every_loss
def test_labels_are_checked_under_vmap(loss):
    logits, labels = make_batch()
    labels[1, 4, 4] = 77
    with pytest.raises(ValueError, match='labels hold 77 in image 1'):
        torch.func.vmap(lambda logits, labels: loss(logits[None], labels[None]))(logits, labels)


class Network(nn.Module):
    def __init__(self, loss, channels):
        super().__init__()
        self.loss = loss
        self.classifier = nn.Conv2d(channels, channels, 1).double()

    def forward(self, features, labels):
        return self.loss(self.classifier(features), labels)


@every_loss
@pytest.mark.filterwarnings('ignore')  # torch calls trace old, and warns of what it cannot see
@pytest.mark.parametrize('way', ['export', 'trace'])
def test_a_network_is_recorded_with_its_loss(loss, way):
    logits, labels = make_batch()
    network = Network(loss, logits.shape[1])
    if way == 'export':
        recorded = torch.export.export(network, (logits, labels)).module()
    else:
        recorded = torch.jit.trace(network, (logits, labels), check_trace=False)
    assert_close(recorded(logits, labels), network(logits, labels))


@pytest.mark.parametrize('default', [torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize(
    'loss',
    [
        RMILoss(),
        RMILoss(impl='reference'),
        SigmoidCrossEntropyLoss(),
        AffinityFieldLoss(),
    ],
    ids=['rmi', 'reference', 'bce', 'affinity'],
)
def test_the_default_type_of_tensors_changes_nothing(loss, default):
    logits, labels = make_batch(height=256, width=256)  # more pixels than float16 can count
    logits = logits.float()
    expected = loss(logits, labels)
    torch.set_default_dtype(default)
    try:
        measured = loss(logits, labels)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(measured, expected)


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
