"""Measure how fast a config trains: ``python -m tools.benchmark.step CONFIG``.

Times forward, backward and step of the optimizer on one synthetic batch of the config's size, in
the ways that may be faster on a CPU, one after the other. With ``taskset -c 0`` before the command
it shows a run that has one core to itself. With ``--data-root`` it also times what comes before the
step: reading and augmenting a batch of the training images there.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample
from rich.console import Console
from rich.table import Table

import mmseg_rmi  # noqa: F401 (registers what configs name)
from mmseg_rmi import launch
from mmseg_rmi.utils.command_line import add_debug_argument, run_tool

WARM_UP = 2


def make_step(cfg: Config, channels_last: bool, bfloat16: bool) -> Callable[[], None]:
    """A function that trains the config's model by one step on a synthetic batch."""
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = MODELS.build(cfg.model).to(memory_format=layout).train()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    size, batch = cfg.crop_size, cfg.train_dataloader.batch_size
    images = torch.randn(batch, 3, *size).contiguous(memory_format=layout)
    head = cfg.model.decode_head
    labels = torch.randint(head.num_classes, (batch, 1, *size))
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=label), metainfo=dict(img_shape=size))
        for label in labels
    ]

    def step() -> None:
        with torch.autocast('cpu', torch.bfloat16, enabled=bfloat16):
            losses = model.loss(images, samples)
        optimizer.update_params(sum(value for name, value in losses.items() if 'loss' in name))

    return step


def time_step(step: Callable[[], None], iterations: int) -> list[float]:
    """Seconds of each step, after a few to warm up."""
    seconds = []
    for _ in range(WARM_UP + iterations):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds[WARM_UP:]


def time_loading(cfg: Config, batches: int) -> tuple[list[float], list[float]]:
    """Seconds that this thread takes for each batch: to read and decode it, and for the rest."""
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    transforms = dataset.pipeline.transforms
    reading = sum(type(each).__name__.startswith('Load') for each in transforms)
    stages = Compose(transforms[:reading]), Compose(transforms[reading:])
    seconds: tuple[list[float], list[float]] = ([], [])
    numbers = itertools.cycle(range(len(dataset)))
    for batch in range(WARM_UP + batches):
        items = [
            dataset.get_data_info(number)
            for number in itertools.islice(numbers, cfg.train_dataloader.batch_size)
        ]
        for stage, spent in zip(stages, seconds, strict=True):
            start = time.perf_counter()
            items = [stage(item) for item in items]
            if batch >= WARM_UP:
                spent.append(time.perf_counter() - start)
    return seconds


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Measure how fast a config trains on a CPU')
    parser.add_argument('config', help='that trains')
    parser.add_argument(
        '--threads',
        type=int,
        nargs='+',
        default=[torch.get_num_threads()],
        help='numbers of threads to compare',
    )
    parser.add_argument('--iterations', type=int, default=8, help='timed, of each way')
    parser.add_argument('--data-root', help='times loading from there as well')
    add_debug_argument(parser)
    return parser.parse_args()


def main() -> None:
    """Print the seconds of a step, for each way."""
    args = parse_args()
    cfg = Config.fromfile(args.config)
    init_default_scope('mmseg')
    MMLogger.get_instance('benchmark', log_level='ERROR')  # no line for each parameter
    cfg.launcher = 'none'
    cfg.model.backbone.init_cfg = None  # time does not depend on the weights
    launch.fall_back_to_cpu(cfg)
    table = Table(
        'threads', 'memory', 'numbers', 'median s', 'least s', title=Path(args.config).stem
    )
    for threads, last, half in itertools.product(args.threads, (False, True), (False, True)):
        torch.set_num_threads(threads)
        seconds = time_step(make_step(cfg, last, half), args.iterations)
        table.add_row(
            str(threads),
            'channels last' if last else 'channels first',
            'bfloat16' if half else 'float32',
            f'{statistics.median(seconds):.3f}',
            f'{min(seconds):.3f}',
        )
    console = Console()
    console.print(table)
    if args.data_root:
        cfg.train_dataloader.dataset.data_root = args.data_root
        medians = map(statistics.median, time_loading(cfg, args.iterations))
        table = Table('a batch, on one core', 'median s')
        for stage, median in zip(('read and decode', 'augment and pack'), medians, strict=True):
            table.add_row(stage, f'{median:.3f}')
        console.print(table)


if __name__ == '__main__':
    run_tool(main)
