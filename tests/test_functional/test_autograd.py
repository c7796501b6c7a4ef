"""What the two functions that make their gradient with the value owe to autograd."""

import functools

import pytest
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from helpers.batches import make_batch
from helpers.implementations import reference_loss, streamed_loss, torch_loss, value_and_gradient
from mmseg_rmi.functional import RMISettings, rmi_loss, streamed_rmi_loss


def streamed(logits, labels, settings=None, **options):
    """The objective of logits upsampled from those given, of three quarters of their size."""
    return streamed_loss(logits, labels, settings, **options).total


def up_sampled(logits, labels, settings=None, **options):
    """The same, step by step."""
    full = F.interpolate(logits, labels.shape[1:], mode='bilinear', align_corners=False)
    return reference_loss(full, labels, settings, **options)


@pytest.fixture(params=['one-pass', 'streamed'])
def case(request):
    """Objective, its readable form, logits and labels."""
    logits, labels = make_batch(height=32, width=36)
    if request.param == 'one-pass':
        return torch_loss, reference_loss, logits, labels
    return streamed, up_sampled, logits[..., :24, :27].contiguous(), labels


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize('scale', [0.0, 1.0, 65536.0, -0.4])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.float16], ids=str)
def test_gradient_is_scaled_by_what_comes_from_above(case, dtype, scale):
    objective, reference, logits, labels = case
    logits = logits.to(dtype)
    _, gradient = value_and_gradient(lambda *batch: scale * objective(*batch), logits, labels)
    _, expected = value_and_gradient(reference, logits.double(), labels)
    tolerance = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2}[dtype]
    error = (gradient.double() - scale * expected).abs().max()
    assert error <= tolerance * abs(scale) * expected.abs().max()


def test_every_backward_pass_is_right(case):
    objective, reference, logits, labels = case
    _, expected = value_and_gradient(reference, logits, labels)
    logits = logits.requires_grad_()
    loss = objective(logits, labels)
    for scale in (1.0, 3.0, 0.5):
        (gradient,) = torch.autograd.grad(scale * loss, logits, retain_graph=True)
        close(gradient, scale * expected)


def test_gradients_of_earlier_passes_are_left_alone(case):
    objective, _, logits, labels = case
    logits = logits.requires_grad_()
    loss = objective(logits, labels)
    (first,) = torch.autograd.grad(loss, logits, retain_graph=True)
    before = first.clone()
    torch.autograd.grad(2 * loss, logits)
    assert torch.equal(first, before)


def test_second_pass_through_a_freed_graph_is_an_error(case):
    objective, _, logits, labels = case
    loss = objective(logits.requires_grad_(), labels)
    loss.backward()
    with pytest.raises(RuntimeError, match='backward through the graph a second time'):
        loss.backward()


def test_second_derivative_is_an_error(case):
    objective, _, logits, labels = case
    logits = logits.requires_grad_()
    with pytest.raises(RuntimeError, match='cannot be differentiated: call backward without'):
        torch.autograd.grad(objective(logits, labels), logits, create_graph=True)


def test_losses_of_several_batches_add_up(case):
    objective, reference, logits, labels = case
    scale = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64).reshape(3, 1, 1)
    gradients = []
    for form in (objective, reference):
        parameter = scale.clone().requires_grad_()
        for image in range(2):
            form(parameter * logits[[image]], labels[[image]]).backward()
        gradients.append(parameter.grad)
    close(*gradients)


@pytest.mark.parametrize('use_reentrant', [False, True])
def test_activation_checkpointing_changes_nothing(case, use_reentrant):
    objective, _, logits, labels = case
    expected, expected_gradient = value_and_gradient(objective, logits, labels)
    measured, gradient = value_and_gradient(
        functools.partial(checkpoint, objective, use_reentrant=use_reentrant), logits, labels
    )
    assert torch.equal(measured, expected)
    assert torch.equal(gradient, expected_gradient)


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_value_is_the_same_without_gradient(case, mode):
    objective, _, logits, labels = case
    expected, _ = value_and_gradient(objective, logits, labels)
    with mode():
        value = objective(logits.clone().requires_grad_(), labels)
    assert not value.requires_grad
    close(value, expected)


def test_logits_of_a_frozen_network_give_a_value_without_gradient(case):
    objective, reference, logits, labels = case
    value = objective(logits, labels)
    assert not value.requires_grad
    close(value, reference(logits, labels))


WEIGHTS = {'pixel_weight': (2, 32, 36), 'class_weight': (3,)}


@pytest.mark.parametrize('name', WEIGHTS)
def test_a_weight_that_requires_a_gradient_gets_it(name):
    """The pixel-wise term is linear in it."""
    logits, labels = make_batch(height=32, width=36)
    weight = torch.rand(WEIGHTS[name], dtype=torch.float64, requires_grad=True)
    logits.requires_grad_()
    pixels_alone = RMISettings(loss_lambda=1)
    values = [rmi_loss(logits, labels, pixels_alone, **{name: weight})]
    if name == 'class_weight':
        low = logits[..., ::2, ::2]
        values.append(streamed_rmi_loss(low, labels, pixels_alone, class_weight=weight).total)
    for value in values:
        (gradient,) = torch.autograd.grad(value, weight)
        close((gradient * weight).sum(), value)


@pytest.mark.parametrize('impl', ['torch', 'triton'])
@pytest.mark.parametrize('name', WEIGHTS)
def test_an_implementation_that_would_drop_the_gradient_of_a_weight_says_so(name, impl):
    logits, labels = make_batch(height=32, width=36)
    weight = torch.rand(WEIGHTS[name], dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match=f"impl='{impl}' does not compute: detach it, or use"):
        rmi_loss(logits, labels, impl=impl, **{name: weight})
    if impl == 'torch':
        expected = rmi_loss(logits, labels, impl=impl, **{name: weight.detach()})
        with torch.no_grad():
            assert rmi_loss(logits, labels, impl=impl, **{name: weight}) == expected


SETTINGS = [
    dict(),
    dict(ignored='exclude', downsample_factor=2),
    dict(downsample='max', downsample_factor=3),
    dict(downsample='interp', downsample_factor=2),
    dict(covariance='mean', ridge=1e-7, downsample_factor=2),
]


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
def test_gradient_is_that_of_finite_differences(case, settings):
    objective, _, logits, labels = case
    logits, labels = logits[:, :2, :9, :9].clone().requires_grad_(), labels[:, -12:, -12:]
    labels = labels.where(labels < 2, 255)
    if objective is torch_loss:
        labels = labels[:, -9:, -9:]
    settings = RMISettings(region_size=2, **settings)
    form = functools.partial(objective, labels=labels, settings=settings)
    assert torch.autograd.gradcheck(form, logits, fast_mode=True)


def test_layout_of_the_logits_does_not_matter(case):
    objective, _, logits, labels = case
    expected, expected_gradient = value_and_gradient(objective, logits, labels)
    for lay_out in (
        lambda t: t.to(memory_format=torch.channels_last),
        lambda t: t.repeat_interleave(2, -1)[..., ::2],
        lambda t: t.flip(0).flip(0),
    ):
        leaf = logits.clone().requires_grad_()
        value = objective(lay_out(leaf), labels)
        value.backward()
        close(value, expected)
        close(leaf.grad, expected_gradient)


def test_inputs_are_not_written_to(case):
    objective, _, logits, labels = case
    inputs = logits.requires_grad_(), labels
    before = [(tensor.detach().clone(), tensor._version) for tensor in inputs]
    objective(logits, labels).backward()
    for tensor, (earlier, version) in zip(inputs, before, strict=True):
        assert torch.equal(tensor, earlier)
        assert tensor._version == version  # not even written to and put right again


@pytest.mark.parametrize('threads', [1, 2])
def test_runs_are_equal_bit_for_bit(case, threads):
    objective, _, logits, labels = case
    logits = logits.float()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        (first, gradient), again = (value_and_gradient(objective, logits, labels) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(before)
    assert torch.equal(first, again[0])
    assert torch.equal(gradient, again[1])
