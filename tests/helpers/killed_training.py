"""A training that ends in no time, or is killed at a chosen moment; processes import it by name."""

import os
import signal
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook, checkpoint_hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmseg_rmi import resume
from mmseg_rmi.hooks import AtomicCheckpointHook, ResumedValidationHook

ITERATIONS = 8
BATCHES = 4  # in an epoch
KILLED_AT = 4  # the second of the saves, each of which makes the one before give way, and validated


class Regression(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2, 1)

    def forward(self, x: list[Tensor], mode: str) -> Any:
        found = self.layer(torch.stack(x))
        return {'loss': found.square().mean()} if mode == 'loss' else found


class Points(Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {'x': torch.tensor([float(index), 1.0])}


class Largest(BaseMetric):
    """The largest prediction, of which the least is best: that of the first validation."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.extend(float(each) for each in data_samples)

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {'largest': max(results)}


class KillHook(Hook):
    """Kill the process in an iteration, or arm its death in the save after it."""

    priority = 'VERY_HIGH'

    def __init__(self, moment: str, number: int) -> None:
        self.moment, self.number = moment, number

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        at = {'first iteration': 0, 'last iteration': ITERATIONS - 1}.get(self.moment)
        if runner.iter == at:
            os.kill(os.getpid(), self.number)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == KILLED_AT:
            arm(self.moment, self.number)

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        if self.moment == 'validating' and batch_idx == 1:
            os.kill(os.getpid(), self.number)

    def after_val_epoch(self, runner, metrics=None) -> None:
        if self.moment == 'writing the best':
            arm('writing', self.number)


@HOOKS.register_module()
class KillRankHook(Hook):
    """Kill one of the processes of a distributed training before an iteration."""

    priority = 'VERY_HIGH'

    def __init__(self, rank: int, iteration: int) -> None:
        self.rank, self.iteration = rank, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if (runner.rank, runner.iter) == (self.rank, self.iteration):
            os.kill(os.getpid(), signal.SIGKILL)


def arm(moment: str, number: int) -> None:
    """Let the next save die at this moment of it."""

    def die(*args, **kwargs):
        os.kill(os.getpid(), number)

    def write_half(self, obj, filepath):
        Path(filepath).write_bytes(obj[: len(obj) // 2])
        die()

    def replace_then_die(self, target, replace=Path.replace):
        replace(self, target)
        die()

    def empty_then_die(file, mode):
        Path(file).write_text('')
        die()

    if moment == 'writing':
        LocalBackend.put = write_half
    elif moment == 'renaming':
        Path.replace = die
    elif moment == 'renamed':
        Path.replace = replace_then_die
    elif moment == 'noting the last':
        checkpoint_hook.open = empty_then_die
    elif moment == 'removing':
        LocalBackend.remove = die


def train(
    work_dir: Path,
    *hooks: Hook,
    resuming: bool = False,
    epochs: bool = False,
) -> Runner:
    """Train to the end, from the newest whole checkpoint on if resuming."""
    loop: dict[str, Any] = dict(by_epoch=False, max_iters=ITERATIONS, val_interval=KILLED_AT)
    if epochs:
        loop = dict(by_epoch=True, max_epochs=ITERATIONS // BATCHES, val_interval=1)
    cfg = Config(dict(work_dir=str(work_dir), resume=False, load_from=None))
    if resuming:
        resume.resume_from_newest(cfg)
    save = AtomicCheckpointHook(
        interval=1 if epochs else 2,
        by_epoch=epochs,
        max_keep_ckpts=1,
        save_best='largest',
        rule='less',
    )
    sampler = 'DefaultSampler' if epochs else 'InfiniteSampler'
    batches = dict(dataset=Points(), batch_size=2)
    runner = Runner(
        Regression(),
        work_dir=cfg.work_dir,
        train_dataloader=dict(batches, sampler=dict(type=sampler, shuffle=True)),
        train_cfg=loop,
        val_dataloader=dict(batches, sampler=dict(type='DefaultSampler', shuffle=False)),
        val_cfg=dict(),
        val_evaluator=[Largest()],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3, momentum=0.9)),
        default_hooks=dict(checkpoint=save),
        custom_hooks=[dict(type='EMAHook', momentum=0.1), ResumedValidationHook(), *hooks],
        randomness=dict(seed=0),
        default_scope='mmseg',
        experiment_name=f'{work_dir.name}_{resuming}_{os.getpid()}',
        resume=cfg.resume,
        load_from=cfg.load_from,
    )
    runner.train()
    return runner


def train_and_die(work_dir: Path, moment: str, number: int) -> None:
    """What a process of its own does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    train(work_dir, KillHook(moment, number))
