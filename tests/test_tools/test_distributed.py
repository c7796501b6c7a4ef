"""The shell scripts that start several processes."""

import json
import re
import stat
import sys
from pathlib import Path

import pytest
import torch

from helpers.tool_runs import (
    ROOT,
    TOOLS,
    config,
    finish,
    free_port,
    load_tool,
    options,
    run,
    start,
)


@pytest.fixture(scope='module')
def trained(scenes, tmp_path_factory) -> tuple[Path, str]:
    """Work dir and log of a training in two processes."""
    folder = tmp_path_factory.mktemp('distributed')
    return folder / 'whole', train(scenes, folder / 'whole')


def command(scenes: Path, recipe: Path | str, work_dir: Path, *arguments: str) -> list:
    settings = options(
        scenes,
        'train_cfg.max_iters=4',
        'default_hooks.checkpoint.interval=2',
        'randomness.diff_rank_seed=True',
    )
    return [TOOLS / 'dist_train.sh', recipe, 2, '--work-dir', work_dir, *arguments, *settings]


def train(scenes: Path, work_dir: Path, *arguments: str) -> str:
    return run(*command(scenes, config('rmi'), work_dir, *arguments), PORT=free_port())


def load(file: Path) -> dict:
    return torch.load(file, weights_only=True)


def test_two_processes_train_over_gloo_with_plain_batch_normalisation(trained):
    work_dir, log = trained
    assert 'No GPU: plain BN takes the place of SyncBN.' in log
    assert 'No GPU: distributed over gloo on CPUs.' in log
    assert 'GPU number: 2' in log
    assert (work_dir / 'iter_4.pth').exists()


def test_checkpoints_keep_the_random_states_of_each_process(trained):
    work_dir, _ = trained
    first, second = load(work_dir / 'iter_2.pth')['random_states']
    assert not torch.equal(first['torch'], second['torch'])


def test_a_process_killed_in_mid_epoch_ends_the_job_and_the_training_resumes(
    trained, scenes, tmp_path
):
    mortal = tmp_path / 'mortal.py'
    mortal.write_text(f"""
_base_ = {config('rmi')!r}
custom_imports = dict(imports=['mmseg_rmi', 'helpers.killed_training'])
custom_hooks = [*_base_.custom_hooks, dict(type='KillRankHook', rank=1, iteration=3)]
""")
    parts = tmp_path / 'parts'
    paths = f'{ROOT}:{ROOT / "tests"}'
    job = start(*command(scenes, mortal, parts), PORT=free_port(), PYTHONPATH=paths)
    said = finish(job, code=1)
    assert 'Signal 9 (SIGKILL)' in said
    assert not (parts / 'iter_4.pth').exists()

    assert 'resumed epoch: 0, iter: 2' in train(scenes, parts, '--resume')
    whole, resumed = (load(each / 'iter_4.pth')['state_dict'] for each in (trained[0], parts))
    # Running statistics of plain BN are each process's own; checkpoints hold those of the first.
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


def test_two_processes_test_all_images_once(trained, scenes, tmp_path):
    work_dir, _ = trained
    command = [TOOLS / 'dist_test.sh', config('rmi'), work_dir / 'iter_4.pth', 2]
    command += ['--work-dir', tmp_path / 'test', '--out', tmp_path / 'predictions']
    run(*command, *options(scenes), PORT=free_port())

    report = load_tool('demo_report.py')
    pairs = report.list_pairs(scenes, 'val')
    scores = report.score_predictions(pairs, tmp_path / 'predictions')
    (logged,) = (tmp_path / 'test').glob('*/*.json')
    logged = json.loads(logged.read_text())
    assert logged['aAcc'] == pytest.approx(scores.pixel_accuracy, abs=0.01)
    assert logged['mIoU'] == pytest.approx(scores.mean_iou, abs=0.01)


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh'])
def test_every_job_on_one_machine_gets_a_port_of_its_own(tmp_path, script):
    fake = tmp_path / 'python'
    fake.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} "$@"\necho "$@"\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)

    def port(**variables: str) -> str:
        said = run(TOOLS / script, 'a.py', 'b.pth', '2', PYTHON=fake, **variables)
        return re.search(r'--master_port=(\d+)', said)[1]

    assert len({port(PORT=''), port(PORT=''), '29500'}) == 3
    assert port(PORT='1234') == '1234'
    assert port(PORT='', NNODES='2') == '29500'  # on which all machines agree


def test_slurm_gets_the_resources_and_the_command(tmp_path):
    fake = tmp_path / 'srun'
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    environment = dict(PATH=f'{tmp_path}:/usr/bin:/bin', GPUS='16', PYTHON='py', SRUN_ARGS='-x a')
    said = run(
        TOOLS / 'slurm_train.sh', 'part', 'job', 'my config.py', '--resume', **environment
    ).splitlines()
    assert {'--partition=part', '--job-name=job', '--gres=gpu:8', '--ntasks=16'} <= set(said)
    assert {'--ntasks-per-node=8', '--cpus-per-task=5', '-x', 'a'} <= set(said)
    tail = ['py', '-u', f'{TOOLS}/train.py', 'my config.py', '--launcher', 'slurm', '--resume']
    assert said[-7:] == tail

    said = run(TOOLS / 'slurm_test.sh', 'part', 'job', 'a.py', 'b.pth', **environment).splitlines()
    assert said[-7:] == ['py', '-u', f'{TOOLS}/test.py', 'a.py', 'b.pth', '--launcher', 'slurm']


@pytest.mark.parametrize(
    'script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh']
)
def test_scripts_say_what_they_want(script):
    assert f'tools/{script}' in finish(start(TOOLS / script), code=2)
