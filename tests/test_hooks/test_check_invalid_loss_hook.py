import math

import pytest
import torch
from mmseg.registry import HOOKS


def test_a_diverged_run_stops_and_says_where(make_runner, tmp_path):
    hooks = [dict(type='CheckInvalidLossHook', interval=1)]
    runner = make_runner(tmp_path, hooks=hooks, end=30, lr=1e30, workers=0)
    with pytest.raises(FloatingPointError, match=r'loss = (inf|nan) in iteration \d+: the run has'):
        runner.train()


def test_losses_are_looked_at_every_so_many_iterations(make_runner, tmp_path):
    runner = make_runner(tmp_path, hooks=[], end=1, workers=0)
    hook = HOOKS.build(dict(type='CheckInvalidLossHook', interval=2))
    outputs = dict(loss=torch.tensor(math.nan), acc_seg=torch.tensor(1.0))
    runner.train_loop._iter = 0
    hook.after_train_iter(runner, 0, outputs=outputs)
    runner.train_loop._iter = 1
    with pytest.raises(FloatingPointError, match='iteration 2'):
        hook.after_train_iter(runner, 1, outputs=outputs)


def test_what_is_not_a_loss_may_be_anything(make_runner, tmp_path):
    runner = make_runner(tmp_path, hooks=[], end=1, workers=0)
    hook = HOOKS.build(dict(type='CheckInvalidLossHook', interval=1))
    outputs = dict(loss=torch.tensor(1.0), acc_seg=torch.tensor(math.nan))
    hook.after_train_iter(runner, 0, outputs=outputs)


def test_an_interval_below_one_is_refused():
    with pytest.raises(ValueError, match='interval must be at least 1, got 0'):
        HOOKS.build(dict(type='CheckInvalidLossHook', interval=0))


def test_an_interval_that_is_no_number_of_iterations_is_refused():
    with pytest.raises(TypeError, match=r'interval must be an integer, got 2\.5'):
        HOOKS.build(dict(type='CheckInvalidLossHook', interval=2.5))
