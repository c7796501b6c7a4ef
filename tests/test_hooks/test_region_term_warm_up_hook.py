"""The region term comes in when it should, and in full where the config has it."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmseg_rmi.hooks import RegionTermWarmUpHook
from mmseg_rmi.losses import RMILoss, SigmoidCrossEntropyLoss


def make_run(*losses: nn.Module, end: int = 8) -> SimpleNamespace:
    return SimpleNamespace(model=nn.ModuleList(losses), iter=0, max_iters=end)


def train(hook: RegionTermWarmUpHook, run: SimpleNamespace, look, *, first: int = 0) -> list:
    """What ``look`` sees in every iteration from ``first`` on."""
    hook.before_train(run)
    seen = []
    for iteration in range(first, run.max_iters):
        run.iter = iteration
        hook.before_train_iter(run, 0)
        seen.append(look())
    hook.after_train(run)
    return seen


def test_lambda_goes_from_1_to_its_own_value():
    loss = RMILoss(loss_lambda=0.2)
    seen = train(
        RegionTermWarmUpHook(0.25, 0.75), make_run(loss), lambda: loss.settings.loss_lambda
    )
    assert seen == pytest.approx([1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2])


def test_region_term_alone_gets_its_weight():
    loss = RMILoss(loss_lambda=0.0, loss_weight=0.5)
    hook, run = RegionTermWarmUpHook(0.0, 0.5), make_run(loss, end=4)
    assert train(hook, run, lambda: loss.loss_weight) == [0, 0.25, 0.5, 0.5]
    assert loss.settings.loss_lambda == 0


def test_all_at_once_in_the_middle():
    loss = RMILoss()
    hook, run = RegionTermWarmUpHook(0.5, 0.5), make_run(loss, end=4)
    assert train(hook, run, lambda: loss.settings.loss_lambda) == [1, 1, 0.5, 0.5]


def test_every_loss_of_the_model_is_warmed_up_and_left_as_the_config_has_it():
    losses = [RMILoss(region_size=5), RMILoss(loss_lambda=0.25), RMILoss(loss_lambda=0.0)]
    before = [(loss.settings, loss.loss_weight) for loss in losses]
    hook, run = RegionTermWarmUpHook(0.5, 1.0), make_run(*losses)
    seen = train(hook, run, lambda: [(loss.settings, loss.loss_weight) for loss in losses])
    assert all(now != then for now, then in zip(seen[0], before, strict=True))
    assert seen[0][0][0].region_size == 5
    assert [(loss.settings, loss.loss_weight) for loss in losses] == before


def test_a_resumed_run_goes_on_where_it_was():
    loss = RMILoss()
    hook = RegionTermWarmUpHook(0.25, 0.75)
    whole = train(hook, make_run(loss), lambda: loss.settings)
    resumed = RegionTermWarmUpHook(0.25, 0.75)
    assert train(resumed, make_run(loss), lambda: loss.settings, first=4) == whole[4:]


def test_training_that_was_interrupted_and_starts_again_ends_at_the_same_loss():
    losses = [RMILoss(loss_lambda=0.2), RMILoss(loss_lambda=0.0, loss_weight=3.0)]
    hook, run = RegionTermWarmUpHook(0.0, 1.0), make_run(*losses)

    def look() -> tuple[float, float]:
        return losses[0].settings.loss_lambda, losses[1].loss_weight

    def interrupt() -> None:
        if run.iter == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(hook, run, interrupt)
    assert look() != (0.2, 3.0)
    train(hook, run, look, first=3)
    assert look() == (0.2, 3.0)


def test_before_it_begins_the_loss_is_the_pixel_wise_term():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 32, 32), torch.randint(3, (2, 32, 32))
    loss, hook = RMILoss(), RegionTermWarmUpHook(0.5, 1.0)
    *_, late = values = train(hook, make_run(loss), lambda: loss(logits, labels))
    pixel_wise = SigmoidCrossEntropyLoss()(logits, labels)
    torch.testing.assert_close(torch.stack(values[:5]), pixel_wise.expand(5))
    # Of the last of 8 iterations 7 / 8 are over, which is three quarters of the second half.
    torch.testing.assert_close(late, pixel_wise + 0.75 * (loss(logits, labels) - pixel_wise))


@pytest.mark.parametrize(('begin', 'end'), [(-0.1, 1.0), (0.6, 0.5), (0.5, 290)])
def test_shares_that_are_none_are_refused(begin, end):
    with pytest.raises(ValueError, match=rf'0 <= begin <= end <= 1, got begin={begin} and .*{end}'):
        RegionTermWarmUpHook(begin, end)


def test_a_share_that_is_no_number_is_refused():
    with pytest.raises(TypeError, match=r"begin must be a number, got '0\.1'"):
        RegionTermWarmUpHook('0.1', 0.5)


def test_a_model_without_the_loss_is_refused(make_runner, tmp_path):
    runner = make_runner(tmp_path, hooks=[dict(type='RegionTermWarmUpHook')], workers=0)
    with pytest.raises(ValueError, match='needs a model with an RMILoss, and there is none'):
        runner.train()
