import inspect
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

HOOKS = [dict(type='RNGStateHook')]


def final_weights(runner: Runner) -> torch.Tensor:
    runner.train()
    # Workers left to the garbage collector, in the cycles of a runner, take 5 s each to end.
    vars(runner.train_loop).pop('dataloader_iterator', None)
    return runner.model.layer.weight.detach().clone()


def resumed_weights(make_runner: Callable[..., Runner], folder: Path, **settings) -> torch.Tensor:
    """Train to the middle, end that run, start another and let it resume."""
    for end, resume in [(3, False), (6, True)]:
        scramble_random_states()
        runner = make_runner(folder, end=end, resume=resume, **settings)
        weights = final_weights(runner)
    return weights


def scramble_random_states() -> None:
    """Leave nothing for a run to inherit from the one before in the same process."""
    random.seed()
    np.random.seed()  # noqa: NPY002
    torch.seed()


@pytest.mark.parametrize('by_epoch', [False, True])
@pytest.mark.parametrize('workers', [0, 2])
def test_a_resumed_run_ends_with_the_weights_of_an_undisturbed_one(
    make_runner, tmp_path, by_epoch, workers
):
    settings = dict(hooks=HOOKS, by_epoch=by_epoch, workers=workers)
    whole = final_weights(make_runner(tmp_path / 'whole', **settings))
    assert torch.equal(resumed_weights(make_runner, tmp_path / 'parts', **settings), whole)


def test_without_the_hook_the_weights_differ(make_runner, tmp_path):
    whole = final_weights(make_runner(tmp_path / 'whole', hooks=[]))
    assert not torch.equal(resumed_weights(make_runner, tmp_path / 'parts', hooks=[]), whole)


def test_the_number_of_workers_does_not_matter(make_runner, tmp_path):
    none, two = (
        final_weights(make_runner(tmp_path / str(workers), hooks=HOOKS, workers=workers))
        for workers in (0, 2)
    )
    assert torch.equal(none, two)


def test_a_run_without_a_chosen_seed_resumes_with_the_seed_it_drew(make_runner, tmp_path):
    whole = make_runner(tmp_path, hooks=HOOKS, seed=None)
    weights = final_weights(whole)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_3.pth'))
    resumed = make_runner(tmp_path, hooks=HOOKS, seed=None, resume=True)
    assert resumed.seed != whole.seed
    assert torch.equal(final_weights(resumed), weights)


class KeepIndices(Hook):
    def __init__(self, kept: list) -> None:
        self.kept = kept

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.kept.append(data_batch['index'])


@pytest.mark.skipif(
    'fast_forward_on_resume' not in inspect.signature(IterBasedTrainLoop).parameters,
    reason='an option of OneDL',
)
def test_a_resumed_run_starts_the_data_over_where_the_config_asks_for_it(make_runner, tmp_path):
    batches = []
    for end, resume in [(3, False), (6, True)]:
        runner = make_runner(
            tmp_path, hooks=HOOKS, end=end, resume=resume, workers=0, fast_forward_on_resume=True
        )
        runner.register_hook(KeepIndices(batches))
        runner.train()
    assert batches[:3] == batches[3:]


def test_seeds_matter(make_runner, tmp_path):
    first, second = (
        final_weights(make_runner(tmp_path / str(seed), hooks=HOOKS, seed=seed)) for seed in (0, 1)
    )
    assert not torch.equal(first, second)


def test_checkpoints_hold_nothing_that_runs_code(make_runner, tmp_path):
    final_weights(make_runner(tmp_path, hooks=HOOKS, end=1))
    states = torch.load(tmp_path / 'iter_1.pth', weights_only=True)['random_states']
    assert len(states) == 1
    assert states[0].keys() >= {'python', 'numpy', 'torch'}


def test_validation_leaves_no_trace_in_the_random_states(make_runner, tmp_path):
    runner = make_runner(tmp_path, hooks=HOOKS)
    before = torch.get_rng_state()
    runner.val()
    assert torch.equal(torch.get_rng_state(), before)


def test_states_of_another_number_of_processes_are_left_alone_with_a_warning(
    make_runner, tmp_path, caplog
):
    final_weights(make_runner(tmp_path, hooks=[], end=3))
    runner = make_runner(tmp_path, hooks=HOOKS, resume=True)
    runner.logger.addHandler(caplog.handler)
    final_weights(runner)
    assert 'holds the random states of 0 processes and the run has 1' in caplog.text


def test_a_runner_without_a_config_is_refused(make_runner, tmp_path):
    runner = make_runner(tmp_path, hooks=HOOKS)
    runner.cfg.pop('train_dataloader')
    with pytest.raises(ValueError, match='no train_dataloader in it: build the runner with Runner'):
        runner.train()
