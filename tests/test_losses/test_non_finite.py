"""Logits that are no numbers: never an error of ours, never hidden, never trained on."""

from types import SimpleNamespace

import pytest
import torch
from mmseg.registry import HOOKS

from helpers.batches import make_batch
from helpers.implementations import value_and_gradient
from mmseg_rmi.losses import AffinityFieldLoss, RMILoss, SigmoidCrossEntropyLoss

NON_FINITE = [torch.nan, torch.inf, -torch.inf]
LOSSES = {
    'rmi': RMILoss(),
    'region-alone': RMILoss(loss_lambda=0),
    'pixel-alone': RMILoss(loss_lambda=1),
    'signed': RMILoss(nonnegative=False),
    'max': RMILoss(downsample='max'),
    'interp': RMILoss(downsample='interp'),
    'exclude': RMILoss(ignored='exclude', downsample_factor=2),
    'weightless': RMILoss(loss_weight=0.0),
    'softmax': RMILoss(pixel_term='ce', activation='softmax'),
    'affinity': AffinityFieldLoss(),
    'bce': SigmoidCrossEntropyLoss(),
}
every_loss = pytest.mark.parametrize('loss', LOSSES.values(), ids=LOSSES)
every_value = pytest.mark.parametrize('value', NON_FINITE)


@every_loss
@every_value
@pytest.mark.parametrize(
    ('label', 'dtype'), [(0, torch.float64), (1, torch.float16), (255, torch.bfloat16)], ids=str
)
def test_one_bad_logit_makes_loss_and_gradient_non_finite(loss, value, label, dtype):
    logits, labels = make_batch()
    labels[0, 20, 20] = label
    logits[0, 1, 20, 20] = value
    measured, gradient = value_and_gradient(loss, logits.to(dtype), labels)
    assert not measured.isfinite()
    assert not gradient.isfinite().any()


@every_loss
def test_channel_masked_by_the_least_number_is_finite(loss):
    logits, labels = make_batch(classes=4)
    labels[labels == 3] = 0
    logits[:, 3] = torch.finfo(torch.float32).min
    measured, gradient = value_and_gradient(loss, logits, labels)
    assert measured.isfinite()
    assert gradient.isfinite().all()
    moderate = logits.clamp(min=-1e3)
    torch.testing.assert_close(measured, loss(moderate, labels), atol=0, rtol=1e-6)


@every_loss
@pytest.mark.parametrize('magnitude', [1e20, 1e34, 1e38, 3e38])
def test_huge_logits_give_a_finite_loss_or_stop_the_step(loss, magnitude):
    logits, labels = make_batch()
    logits = (magnitude * logits / logits.abs().max()).float()
    measured, gradient = value_and_gradient(loss, logits, labels)
    assert measured.isfinite() or magnitude > 1e36
    assert gradient.isfinite().all() if measured.isfinite() else gradient.isnan().all()


@every_loss
@every_value
def test_bad_logits_of_a_batch_without_a_valid_pixel_are_not_hidden(loss, value):
    logits, labels = make_batch()
    labels[:] = 255
    logits[1, 2, 3, 4] = value
    assert not loss(logits, labels).isfinite()


@every_loss
@every_value
def test_bad_logits_of_an_absent_class_are_not_hidden(loss, value):
    logits, labels = make_batch(classes=4)
    labels[labels == 3] = 0
    logits[1, 3, 30, 30] = value
    assert not loss(logits, labels).isfinite()


@every_loss
@every_value
def test_all_logits_bad(loss, value):
    logits, labels = make_batch()
    assert not loss(torch.full_like(logits, value), labels).isfinite()


@every_loss
@every_value
def test_grad_scaler_skips_the_step(loss, value):
    """One pixel overflows, and only on its way to the logits: the parameters are sound."""
    logits, labels = make_batch()
    bias = torch.nn.Parameter(torch.zeros(3, 1, 1, dtype=torch.float64))
    optimizer = torch.optim.SGD([bias], lr=1.0)
    scaler = torch.amp.GradScaler('cpu', init_scale=2.0**16)

    def step(features):
        optimizer.zero_grad()
        scaler.scale(loss(features + bias, labels)).backward()
        scaler.step(optimizer)
        scaler.update()

    overflown = logits.clone()
    overflown[0, 1, 20, 20] = value
    step(overflown)
    assert (bias == 0).all()
    assert scaler.get_scale() == 2.0**15
    step(logits)
    assert bias.isfinite().all()
    assert (bias != 0).any() == (loss is not LOSSES['weightless'])


@every_value
def test_hook_stops_the_run(value, tmp_path):
    logits, labels = make_batch()
    logits[0, 0, 20, 20] = value
    outputs = {loss.loss_name: loss(logits, labels) for loss in (LOSSES['rmi'], LOSSES['bce'])}
    hook = HOOKS.build(dict(type='CheckInvalidLossHook', interval=1))
    with pytest.raises(FloatingPointError, match=r'loss_rmi .* loss_bce'):
        hook.after_train_iter(SimpleNamespace(iter=0, work_dir=tmp_path), 0, outputs=outputs)
