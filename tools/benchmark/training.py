"""Train the demo's network on drawn street scenes for as long as there is time."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmseg_rmi import launch
from tools.dataset_converters.street_scenes import write_split
from tools.tool_process import ROOT

CONFIG = ROOT / 'configs/demo/deeplabv3plus_r18-d16_1xb4-{}-800_street-scenes-144x192.py'
LOSSES = ('ce', 'rmi')
TRIAL = 40  # iterations that tell how long one takes
LONGEST = 1600  # iterations; more teach little


def draw_scenes(folder: Path, train: int, val: int) -> None:
    """Draw the scenes of both splits."""
    for number, (split, count) in enumerate([('train', train), ('val', val)]):
        write_split(folder, split, count, size=(144, 192), entropy=(0, number))


def train(loss: str, scenes: Path, iterations: int, device: str) -> dict[str, Any]:
    """Train from scratch with a loss, and validate at the end.

    Returns:
        ``mIoU`` in percent, ``seconds`` of an iteration, ``memory`` in bytes (0 on a CPU), and the
        ``curve`` of the loss.
    """
    cfg = Config.fromfile(str(CONFIG).format(loss))
    with tempfile.TemporaryDirectory() as work_dir:
        _adapt(cfg, scenes, iterations, Path(work_dir))
        runner = launch.build_runner(cfg)
        if device == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        runner.train()
        history = runner.message_hub.log_scalars
        seconds, _ = history['train/time'].data
        curve, _ = history['train/loss'].data
        return dict(
            loss=loss,
            iterations=iterations,
            mIoU=float(runner.message_hub.get_scalar('val/mIoU').current()),
            seconds=float(torch.tensor(seconds[len(seconds) // 4 :]).median()),
            memory=torch.cuda.max_memory_allocated() if device == 'cuda' else 0,
            curve=[round(float(value), 4) for value in curve[:: max(1, iterations // 40)]],
        )


def _adapt(cfg: Config, scenes: Path, iterations: int, work_dir: Path) -> None:
    """Fit schedule, folders and loaders; nothing is kept."""
    cfg.work_dir, cfg.launcher, cfg.log_level = str(work_dir), 'none', 'ERROR'
    cfg.experiment_name = cfg.visualizer.name = f'gpu_check-{time.time_ns()}'  # one of its own
    cfg.train_cfg.update(max_iters=iterations, val_interval=iterations)
    warm_up, decay = cfg.param_scheduler
    warm_up.end = decay.begin = min(warm_up.end, iterations // 4 + 1)
    decay.end = iterations
    cfg.default_hooks.checkpoint.update(interval=10 * iterations, save_last=False)
    workers = (os.cpu_count() or 1) // 4
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.dataset.data_root = str(scenes)
        loader.update(num_workers=workers, persistent_workers=workers > 0)


def iterations_within(seconds: float, trial: dict[str, Any]) -> int:
    """Choose how many iterations fit in the time for one training, validation included."""
    return int(min(LONGEST, max(2, 0.85 * seconds / trial['seconds'])))
