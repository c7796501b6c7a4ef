"""Runs of the demo's RMI config, as it is but for the size of the network, that get killed."""

import sys
from pathlib import Path

import torch

from helpers.tool_runs import TOOLS, config, finish, options, run, start

ITERATIONS = 8


def command(scenes: Path, work_dir: Path, *arguments: str) -> list:
    settings = options(
        scenes,
        f'train_cfg.max_iters={ITERATIONS}',
        'train_cfg.val_interval=2',
        'default_hooks.checkpoint.interval=3',
        'default_hooks.logger.interval=1',
    )
    tool = [sys.executable, TOOLS / 'train.py', config('rmi'), '--work-dir', work_dir]
    return [*tool, *arguments, *settings]


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(work_dir / f'iter_{ITERATIONS}.pth', weights_only=True)
    return checkpoint['state_dict']


def kill_after(process, iteration: int) -> None:
    """Kill a training as soon as it has said that this iteration is over."""
    assert process.stdout is not None
    said = ''
    for line in process.stdout:
        said += line
        if f'Iter(train) [{iteration}/{ITERATIONS}]' in line:
            break
    process.kill()
    process.communicate()
    assert process.returncode == -9, said


def test_a_killed_run_resumes_to_the_weights_of_an_undisturbed_one(scenes, tmp_path):
    undisturbed = start(*command(scenes, tmp_path / 'whole'))
    kill_after(start(*command(scenes, tmp_path / 'parts')), iteration=5)
    assert not (tmp_path / 'parts' / f'iter_{ITERATIONS}.pth').exists()
    finish(undisturbed)

    log = run(*command(scenes, tmp_path / 'parts', '--resume'))

    assert 'resumed epoch: 0, iter: 3' in log
    whole, parts = weights(tmp_path / 'whole'), weights(tmp_path / 'parts')
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
