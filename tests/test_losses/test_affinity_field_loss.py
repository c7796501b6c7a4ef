"""The registered affinity field loss: its two terms, its decay in a run, its learned weights."""

import math
import re

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from mmseg.registry import MODELS
from torch import nn

from helpers import affinity_oracle
from helpers.batches import make_batch
from helpers.implementations import value_and_gradient
from helpers.tolerances import assert_close
from mmseg_rmi.functional import affinity_field_loss
from mmseg_rmi.losses import AffinityFieldLoss


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize(
    'settings', [dict(), dict(sizes=[1, 2], margin=1.0, downsample_factor=4)], ids=str
)
def test_is_cross_entropy_plus_affinity(settings, weighted):
    logits, labels = make_batch()
    weight = torch.rand(labels.shape) if weighted else None
    expected = affinity_oracle.cross_entropy(logits, labels, weight=weight)
    expected += affinity_oracle.affinity(logits, labels, **settings)
    loss = MODELS.build(dict(type='AffinityFieldLoss', **settings))
    assert_close(loss(logits, labels, weight=weight), expected)


def test_loss_weight_scales_the_whole():
    logits, labels = make_batch()
    assert_close(
        AffinityFieldLoss(loss_weight=0.4)(logits, labels),
        0.4 * AffinityFieldLoss()(logits, labels),
    )


def test_batch_without_a_valid_pixel_is_zero():
    logits, labels = make_batch()
    labels[:] = 255
    value, gradient = value_and_gradient(AffinityFieldLoss(), logits, labels)
    assert value == 0
    assert (gradient == 0).all()


def test_logits_of_half_precision_sharper_than_it_resolves_have_a_finite_gradient():
    _, labels = make_batch()
    logits = torch.where(labels[:, None] == torch.arange(3)[:, None, None], -6e4, 6e4).half()
    value, gradient = value_and_gradient(AffinityFieldLoss(downsample_factor=1), logits, labels)
    assert value.isfinite()
    assert gradient.isfinite().all()


# Decay


class Recording(BaseModel):
    """Keeps the loss of every iteration; its one parameter stays as it is at a rate of 0."""

    def __init__(self, loss, logits, labels) -> None:
        super().__init__()
        self.loss, self.labels, self.values = loss, labels, []
        self.logits = nn.Parameter(logits)

    def forward(self, batch, mode='loss'):
        value = self.loss(self.logits, self.labels)
        self.values.append(value.item())
        return dict(loss=value)


def runner_of(model, folder, name, max_iters, **settings) -> Runner:
    return Runner(
        model,
        str(folder),
        train_dataloader=dict(
            dataset=[0] * 100, sampler=dict(type='DefaultSampler', shuffle=False), batch_size=1
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        default_hooks=dict(
            logger=None, checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2)
        ),
        default_scope='mmseg',
        experiment_name=name,
        **settings,
    )


@pytest.mark.parametrize('base', [10.0, 20.0, 1.0])
def test_affinity_decays_with_the_iterations_of_a_run(tmp_path, base):
    logits, labels = make_batch()
    model = Recording(AffinityFieldLoss(decay_base=base), logits, labels)
    outside = model.loss(logits, labels).item()
    runner_of(model, tmp_path, f'decay-{base}', max_iters=4).train()
    affinity = affinity_oracle.affinity(logits, labels)
    cross_entropy = affinity_oracle.cross_entropy(logits, labels)
    expected = [cross_entropy + base ** -(step / 4) * affinity for step in range(4)]
    assert model.values == pytest.approx(expected, rel=1e-6)
    assert outside == pytest.approx(expected[0], rel=1e-6)
    assert model.loss(logits, labels).item() == outside


def test_decay_goes_on_where_a_resumed_run_stopped(tmp_path):
    logits, labels = make_batch()
    whole = Recording(AffinityFieldLoss(), logits, labels)
    runner_of(whole, tmp_path / 'whole', 'whole', max_iters=4).train()
    resumed = Recording(AffinityFieldLoss(), logits, labels)
    checkpoint = str(tmp_path / 'whole' / 'iter_2.pth')
    runner_of(
        resumed, tmp_path / 'resumed', 'resumed', max_iters=4, load_from=checkpoint, resume=True
    ).train()
    assert resumed.values == pytest.approx(whole.values[2:], rel=1e-6)


# Learned weights


def test_adaptive_weights_start_equal():
    logits, labels = make_batch()
    settings = dict(sizes=(1, 2, 3), downsample_factor=2)
    fixed = value_and_gradient(AffinityFieldLoss(**settings), logits, labels)
    adaptive = value_and_gradient(AffinityFieldLoss(**settings, adaptive=True), logits, labels)
    for actual, expected in zip(adaptive, fixed, strict=True):
        assert_close(actual, expected, torch.float32)


def test_adaptive_weights_climb_the_loss():
    """A small step of the optimizer raises it by the rate times the gradient squared."""
    logits, labels = make_batch()
    loss = AffinityFieldLoss(sizes=(1, 2), downsample_factor=2, adaptive=True)
    optimizer = torch.optim.SGD(loss.parameters(), lr=1e-3)
    before = loss(logits, labels)
    before.backward()
    gradient = loss.size_scores.grad
    optimizer.step()
    climbed = (loss(logits, labels) - before).item()
    assert climbed == pytest.approx(1e-3 * gradient.square().sum().item(), rel=0.1)


def test_gradient_of_the_scores_is_that_of_the_function_reversed():
    logits, labels = make_batch()
    settings = dict(sizes=(1, 2), downsample_factor=2)
    loss = AffinityFieldLoss(**settings, adaptive=True)
    with torch.no_grad():
        loss.size_scores.normal_(generator=torch.Generator().manual_seed(0))
    loss(logits, labels).backward()
    scores = loss.size_scores.detach().double().requires_grad_()
    affinity_field_loss(
        logits, labels, (1, 2), 3.0, 2, size_weights=scores.softmax(dim=2)
    ).backward()
    assert_close(loss.size_scores.grad, -scores.grad)


def test_weights_of_each_class_add_up_to_one():
    loss = AffinityFieldLoss(sizes=(1, 2, 3), adaptive=True)
    with torch.no_grad():
        loss.size_scores.normal_()
    assert_close(loss.size_weights.sum(dim=2), torch.ones(2, 256))


def test_head_hands_the_scores_to_the_optimizer():
    loss = dict(type='AffinityFieldLoss', sizes=(1, 2, 3), adaptive=True)
    head = MODELS.build(
        dict(type='FCNHead', in_channels=4, channels=4, num_classes=3, loss_decode=loss)
    )
    scores = head.loss_decode.size_scores
    wrapper = build_optim_wrapper(head, dict(optimizer=dict(type='SGD', lr=0.1)))
    assert any(scores is each for group in wrapper.param_groups for each in group['params'])
    assert 'loss_decode.size_scores' in head.state_dict()


def test_fixed_weights_are_no_parameters():
    assert not list(AffinityFieldLoss(sizes=(1, 2, 3)).parameters())
    assert AffinityFieldLoss().size_weights is None


# What is refused


def test_binary_map_of_one_channel_is_refused():
    logits, labels = make_batch(classes=1)
    with pytest.raises(ValueError, match=r'at least 2 channels.*\(2, 1, 31, 37\).*num_classes=2'):
        AffinityFieldLoss()(logits, labels)


def test_more_classes_than_there_are_weights_are_refused():
    logits, labels = torch.zeros(1, 257, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    loss = AffinityFieldLoss(sizes=(1, 2), adaptive=True, downsample_factor=1)
    with pytest.raises(ValueError, match='weights for 256 classes, got 257 channels'):
        loss(logits, labels)


@pytest.mark.parametrize(('sizes', 'factor', 'least'), [((1,), 8, 16), ((3, 1), 4, 16)])
def test_advice_on_neighbours_that_do_not_fit_is_right(sizes, factor, least):
    loss = AffinityFieldLoss(sizes=sizes, downsample_factor=factor)
    small = torch.zeros(1, 2, 40, least - 1), torch.zeros(1, 40, least - 1, dtype=torch.long)
    expected = (
        f'at a distance of {max(sizes)} do not fit into logits of 40 x {least - 1} at '
        f'downsample_factor={factor}: use crops of at least {least} x {least}'
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        loss(*small)
    assert loss(
        torch.zeros(1, 2, least, least), torch.zeros(1, least, least, dtype=torch.long)
    ).isfinite()


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (dict(sizes=1), TypeError, r'sizes must be a list .* such as \(1, 2, 3\), got 1'),
        (dict(sizes=()), TypeError, r'sizes must be a list .*, got \(\)'),
        (dict(sizes=(0,)), ValueError, 'sizes must be at least 1, got 0'),
        (dict(sizes=(1, 2.0)), TypeError, r'sizes must be an integer, got 2\.0'),
        (dict(sizes=(2, 1, 2)), ValueError, r'sizes must differ from each other, got \(2, 1, 2\)'),
        (dict(adaptive=1), TypeError, 'adaptive must be True or False, got 1'),
        (dict(adaptive=True), ValueError, r'weighs several sizes, got sizes=\(1,\): use .*1, 2, 3'),
        (dict(margin='3'), TypeError, "margin must be a number, got '3'"),
        (dict(margin=0.0), ValueError, r'margin must be greater than 0, got 0\.0'),
        (dict(margin=math.inf), ValueError, 'margin must be finite, got inf'),
        (dict(downsample_factor=0), ValueError, 'downsample_factor must be at least 1, got 0'),
        (dict(downsample_factor=8.0), TypeError, r'downsample_factor must be an integer, got 8\.0'),
        (dict(decay_base='e'), TypeError, "decay_base must be a number, got 'e'"),
        (dict(decay_base=0.5), ValueError, r'decay_base must be at least 1 .*, got 0\.5'),
    ],
)
def test_wrong_constant_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        AffinityFieldLoss(**arguments)
