"""What each of two processes does that share no folder; spawned processes import it by name."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmseg.registry import DATASETS, METRICS
from torch import distributed

from helpers.random_training import AugmentedNumbers, Nothing
from mmseg_rmi import launch, resume


@DATASETS.register_module(force=True)
class SomeNumbers(AugmentedNumbers):
    """As many as the process is told."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.count = counts[int(os.environ['RANK'])]

    def __len__(self) -> int:
        return self.count


@METRICS.register_module(force=True)
class Count(Nothing):
    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.extend(range(len(data_samples)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        return dict(count=len(results))


def recipe(
    name: str,
    counts: Sequence[int] = (6, 6),
    ends: Sequence[int] = (2, 2),
    by_epoch: bool = False,
    round_up: bool = True,
) -> Config:
    """Config of a training of two iterations, with batches of two, or of one epoch."""
    numbers = dict(type='SomeNumbers', counts=counts)
    loader: dict[str, Any] = dict(dataset=numbers, batch_size=2, num_workers=0)
    sampler = dict(type='DefaultSampler', round_up=round_up)
    end = ends[int(os.environ['RANK'])]
    return Config(
        dict(
            work_dir=f'{name}-run',
            launcher='pytorch',
            default_scope='mmseg',
            experiment_name=name,
            model=dict(type='Dropping'),
            train_dataloader=dict(
                loader, sampler=sampler if by_epoch else dict(type='InfiniteSampler')
            ),
            val_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=False)),
            val_evaluator=dict(type='Count'),
            train_cfg=dict(by_epoch=by_epoch, **{'max_epochs' if by_epoch else 'max_iters': end}),
            val_cfg=dict(),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2)),
            env_cfg=dict(dist_cfg=dict(backend='gloo', timeout=30)),
            randomness=dict(seed=0),
            custom_hooks=[dict(type='RNGStateHook')],
            log_level='WARNING',
        )
    )


# What differs between the processes, in the order in which they run.
SCENARIOS: dict[str, dict[str, Any]] = {
    'nothing': {},
    'checkpoints': dict(ends=(4, 4)),
    'data': dict(counts=(6, 8)),
    'shares of an epoch': dict(counts=(5, 5), by_epoch=True, round_up=False),
    'configs': dict(ends=(2, 3)),
}


def train(scenario: str) -> str:
    """Train, and return what the last evaluation counted, or the error."""
    name = 'nothing' if scenario == 'checkpoints' else scenario.replace(' ', '-')
    cfg = recipe(name, **SCENARIOS[scenario])
    if scenario == 'checkpoints':
        resume.resume_from_newest(cfg)
    runner = launch.build_runner(cfg)
    try:
        runner.train()
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return str(runner.message_hub.get_scalar('val/count').current())


def train_on_node(rank: int, folder: Path, ports: Sequence[str]) -> None:
    """What one of the two processes does."""
    own = folder / str(rank)
    own.mkdir()
    os.chdir(own)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK='0', WORLD_SIZE='2', GLOO_SOCKET_IFNAME='lo', MKL_NUM_THREADS='1'
    )
    torch.set_num_threads(1)
    found = {}
    for scenario, port in zip(SCENARIOS, ports, strict=True):
        os.environ['MASTER_PORT'] = port
        found[scenario] = train(scenario)
        distributed.destroy_process_group()
    (folder / f'{rank}.json').write_text(json.dumps(found))
