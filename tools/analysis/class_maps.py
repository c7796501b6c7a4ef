"""Measure what a scale and a shift per class, fitted to training images, add to the IoU.

The region term asks how well a map explains the truth by regression, to which half the probability
is nearly as good as all of it. So a class can be found, and still lose every pixel to another whose
map is higher. On the test images, class by class: the mean probability on the pixels of the class
and on images that lack it, the correlation of map and truth within images that show it, the IoU,
and the IoU after each class's logits have got a scale and a shift, fitted by softmax cross entropy
on training images: two numbers for each class, which ``--out`` writes into the last layer.

    python tools/analysis/class_maps.py CONFIG CHECKPOINT
    python tools/analysis/class_maps.py CONFIG CHECKPOINT --out fitted.pth
"""

import argparse
import copy
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner, save_checkpoint
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table
from torch import Tensor
from torch.nn import functional as F

from mmseg_rmi import launch
from mmseg_rmi.test_time.probabilities import (
    ACTIVATIONS,
    Activation,
    final_head,
    resolve_activation,
    to_probabilities,
)
from mmseg_rmi.utils.command_line import add_debug_argument, run_tool

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
# After mmseg_rmi, which keeps these from printing what they lack.
from mmseg.evaluation import IoUMetric
from mmseg.models import BaseSegmentor
from mmseg.models.decode_heads.decode_head import BaseDecodeHead

from tools.analysis.trained_model import open_trained
from tools.benchmark.machine import describe_run

IGNORED = 255
STEPS = 100  # of the fit, which is convex and over long before
PRIOR = 1e-4  # keeps classes that no training pixel shows where they are


class Fit(NamedTuple):
    """A factor and a summand for the logits of each class; ``C`` each."""

    scale: Tensor
    shift: Tensor

    def __call__(self, logits: Tensor) -> Tensor:
        """Apply to logits, ``C x ...``."""
        shape = (-1, *[1] * (logits.dim() - 1))
        return logits * self.scale.reshape(shape) + self.shift.reshape(shape)


class Maps(NamedTuple):
    """Statistics of the maps of ``C`` classes; ``C`` each, NaN where no image tells."""

    images: Tensor  # that show the class
    on_class: Tensor  # mean probability there, each of these images alike
    where_absent: Tensor  # mean probability on images that lack the class
    correlation: Tensor  # mean over images in which the class is shown and not all there is
    iou: Tensor  # in percent
    fitted_iou: Tensor


def predict(model: BaseSegmentor, loader: Iterable[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits, ``C x H x W``, and labels, ``H x W``, of one image after the other.

    Of one channel MMSegmentation gives the probability, whose logit beside 0 has it as its softmax.
    """
    for batch in loader:
        with torch.no_grad():
            samples = model.test_step(batch)
        for sample in samples:
            logits = sample.seg_logits.data.cpu()
            if len(logits) == 1:
                logits = torch.cat([torch.zeros_like(logits), torch.logit(logits, eps=1e-6)])
            yield logits, sample.gt_sem_seg.data[0].cpu()


def draw_pixels(
    images: Iterable[tuple[Tensor, Tensor]], number: int, ignored: int = IGNORED
) -> tuple[Tensor, Tensor]:
    """Draw up to a number of labelled pixels of each image.

    Returns:
        Logits, ``C x n``, and labels, ``n``.

    Raises:
        ValueError: no image has a labelled pixel.
    """
    generator = torch.Generator().manual_seed(0)
    drawn: list[tuple[Tensor, Tensor]] = []
    for logits, labels in images:
        places = (labels.flatten() != ignored).nonzero().flatten()
        chosen = places[torch.randperm(len(places), generator=generator)[:number]]
        drawn.append((logits.flatten(1)[:, chosen], labels.flatten()[chosen].long()))
    if not any(len(labels) for _, labels in drawn):
        raise ValueError('no training image has a labelled pixel to fit to')
    return torch.cat([each for each, _ in drawn], dim=1), torch.cat([each for _, each in drawn])


def fit_classes(logits: Tensor, labels: Tensor) -> Fit:
    """Find the scale and shift of each class with the least softmax cross entropy.

    Args:
        logits: ``C x n``.
        labels: ``n``, in ``[0, C)``.
    """
    fit = Fit(torch.ones(len(logits)), torch.zeros(len(logits)))
    parameters = [each.requires_grad_() for each in fit]
    optimizer = torch.optim.LBFGS(parameters, max_iter=STEPS, line_search_fn='strong_wolfe')

    def close() -> Tensor:
        optimizer.zero_grad()
        distance = (fit.scale - 1).square().sum() + fit.shift.square().sum()
        loss = F.cross_entropy(fit(logits).T, labels) + PRIOR * distance
        loss.backward()
        return loss

    optimizer.step(close)
    return Fit(fit.scale.detach(), fit.shift.detach())


def measure(
    images: Iterable[tuple[Tensor, Tensor]],
    fit: Fit,
    activation: Activation,
    ignored: int = IGNORED,
) -> Maps:
    """Look at the maps of test images as they are, and as the fit has them."""
    classes = len(fit.scale)
    areas = torch.zeros(2, 4, classes)  # as is and fitted; IoUMetric's four
    rows: tuple[list[Tensor], ...] = (
        [],
        [],
        [],
    )  # of each image: probability on the class, where absent, correlation
    for logits, labels in images:
        for place, each in enumerate((logits, fit(logits))):
            found = IoUMetric.intersect_and_union(each.argmax(0), labels, classes, ignored)
            areas[place] += torch.stack(found)
        valid = labels != ignored
        if not valid.any():
            continue
        maps = to_probabilities(logits, activation)[:, valid].double()
        truth = F.one_hot(labels[valid].long(), classes).T.double()
        shown = truth.sum(dim=1)
        rows[0].append((maps * truth).sum(dim=1) / shown)
        rows[1].append(maps.mean(dim=1).where(shown == 0, torch.nan))
        pairs = torch.stack([maps, truth], dim=1)
        rows[2].append(torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs]))
    on_class, where_absent, correlation = map(torch.stack, rows)
    iou, fitted_iou = (100 * intersect / union for intersect, union, *_ in areas)
    return Maps(
        images=on_class.isfinite().sum(dim=0),
        on_class=on_class.nanmean(dim=0),
        where_absent=where_absent.nanmean(dim=0),
        correlation=correlation.nanmean(dim=0),
        iou=iou,
        fitted_iou=fitted_iou,
    )


def write_into_last_layer(fit: Fit, head: BaseDecodeHead) -> None:
    """Make a head give fitted logits; upsampling changes neither scale nor shift."""
    with torch.no_grad():
        head.conv_seg.weight *= fit.scale.reshape(-1, 1, 1, 1)
        head.conv_seg.bias.copy_(fit(head.conv_seg.bias))


def tabulate(names: Iterable[str], maps: Maps, caption: str) -> Table:
    """A row of each class, and the means of what all classes have."""
    columns = ('images', 'on class', 'absent', 'correlation', 'IoU', 'fitted')
    table = Table(Column(no_wrap=True), *columns, caption=caption)
    for name, count, *row in zip(names, *(column.tolist() for column in maps), strict=True):
        table.add_row(name, f'{count:.0f}', *_format(row))
    table.add_row('mean', '', *_format(float(column.nanmean()) for column in maps[1:]))
    return table


def _format(row: Iterable[float]) -> list[str]:
    """Probabilities, a correlation, percents; what no image tells is a dash."""
    digits = (3, 3, 2, 2, 2)
    pairs = zip(row, digits, strict=True)
    return ['-' if math.isnan(value) else f'{value:.{places}f}' for value, places in pairs]


def make_loaders(cfg: Config) -> tuple[ConfigDict, ConfigDict]:
    """Loaders of the training images, seen as those of the test are, and of the test images."""
    test = copy.deepcopy(cfg.test_dataloader)
    test.update(num_workers=0, persistent_workers=False)
    training = copy.deepcopy(test)
    training.dataset = copy.deepcopy(cfg.train_dataloader.dataset)
    training.dataset.pipeline = test.dataset.pipeline
    return training, test


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Measure what a scale and a shift per class add to IoU'
    )
    parser.add_argument('config', help='that trained the network')
    parser.add_argument('checkpoint', help='of the network')
    parser.add_argument('--pixels', type=int, default=1000, help='of each training image')
    parser.add_argument(
        '--activation', choices=ACTIVATIONS, help='of the maps, where losses contradict each other'
    )
    parser.add_argument('--out', type=Path, help='checkpoint to write, with the fit in it')
    launch.add_config_options(parser)
    add_debug_argument(parser)
    args = parser.parse_args()
    if args.pixels < 1:
        parser.error(f'--pixels must be at least 1, got {args.pixels}')
    return args


def main() -> None:
    """Print the table."""
    args = parse_args()
    cfg, model = open_trained(args.config, args.checkpoint, args.cfg_options)
    head = final_head(model)
    if head.out_channels == 1 and args.out:
        raise ValueError('--out: one channel has no scale and shift for each of two classes')
    activation = 'softmax' if head.out_channels == 1 else resolve_activation(args.activation, model)
    training, test = map(Runner.build_dataloader, make_loaders(cfg))
    console = Console(stderr=True)

    seen = track(
        predict(model, training), 'training images', len(training.dataset), console=console
    )
    fit = fit_classes(*draw_pixels(seen, args.pixels, head.ignore_index))
    seen = track(predict(model, test), 'test images', len(test.dataset), console=console)
    maps = measure(seen, fit, activation, head.ignore_index)
    Console().print(tabulate(test.dataset.metainfo['classes'], maps, describe_run('cpu')))
    if args.out:
        write_into_last_layer(fit, head)
        fitted = dict(state_dict=model.state_dict(), meta=dict(dataset_meta=model.dataset_meta))
        save_checkpoint(fitted, str(args.out))


if __name__ == '__main__':
    run_tool(main)
