"""Runs of a small random training."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmengine.runner import Runner

import mmseg_rmi  # noqa: F401 (registers the hooks)
from helpers import random_training  # noqa: F401 (registers its classes)


def loader(workers: int, sampler: str) -> dict[str, Any]:
    return dict(
        dataset=dict(type='AugmentedNumbers'),
        sampler=dict(type=sampler, shuffle=True),
        batch_size=3,
        num_workers=workers,
    )


@pytest.fixture
def make_runner() -> Callable[..., Runner]:
    def make(
        work_dir: Path,
        *,
        hooks: list[dict],
        end: int = 6,
        by_epoch: bool = False,
        workers: int = 2,
        resume: bool = False,
        seed: int | None = 0,
        lr: float = 0.1,
        **loop: Any,
    ) -> Runner:
        loop['max_epochs' if by_epoch else 'max_iters'] = end
        return Runner.from_cfg(
            dict(
                work_dir=str(work_dir),
                default_scope='mmseg',
                experiment_name=f'{work_dir.name}-{uuid.uuid4()}',
                model=dict(type='Dropping'),
                train_dataloader=loader(
                    workers, 'DefaultSampler' if by_epoch else 'InfiniteSampler'
                ),
                val_dataloader=loader(2, 'DefaultSampler'),
                val_evaluator=dict(type='Nothing'),
                train_cfg=dict(by_epoch=by_epoch, val_interval=2, **loop),
                val_cfg=dict(),
                optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr, momentum=0.9)),
                default_hooks=dict(
                    checkpoint=dict(type='CheckpointHook', by_epoch=by_epoch, interval=1)
                ),
                custom_hooks=hooks,
                randomness=dict(seed=seed),
                resume=resume,
                log_level='WARNING',
            )
        )

    return make
