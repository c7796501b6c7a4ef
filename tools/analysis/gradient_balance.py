"""Measure the gradients of the terms of RMI in a trained network.

On batches of training images, for cross entropy, BCE and the region term with other settings: the
norm of the gradient of all weights, as a multiple of BCE's; its cosine with BCE's; the mean
cosine between the gradients of two batches, which says how much of it is noise; and, of the squares
of the gradient of the logits, the share of the largest image of a batch, and the share of the maps
of classes that an image lacks. A second table has the share of each class's map, beside the share
of pixels that the class has.

    python tools/analysis/gradient_balance.py CONFIG CHECKPOINT
    python tools/analysis/gradient_balance.py CONFIG CHECKPOINT --region 'downsample_factor: 1'
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch
import yaml
from mmengine.runner import Runner, set_random_seed
from mmseg.registry import MODELS
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_rmi import launch
from mmseg_rmi.utils.command_line import add_debug_argument, run_tool

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
# After mmseg_rmi, which keeps these from printing what they lack.
from mmseg.models import BaseSegmentor
from mmseg.models.decode_heads.decode_head import BaseDecodeHead

from tools.analysis.trained_model import open_trained
from tools.benchmark.machine import describe_run

BCE = 'BCE'
RIDGES = tuple(f'ridge: {ridge}' for ridge in (0.0005, 0.05, 0.5, 5.0, 50.0))


class GradientStats(NamedTuple):
    """The effect of a loss on a network in one batch."""

    weights: Tensor  # its gradient, all in one vector
    largest_image: float  # share of one image in the squares of the gradient of the logits
    absent: float  # share of the maps of classes that the image lacks in them
    classes: Tensor  # share of the map of each class in them, C


class Batch(NamedTuple):
    """The gradients of each loss in a batch, and the classes that it shows."""

    losses: dict[str, GradientStats]
    pixels: Tensor  # share of each class in the labelled pixels, C


def make_losses(regions: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Configs of the losses to compare, by what they are called.

    Args:
        regions: settings of the region term, ``'KEY: VALUE, KEY: VALUE'``.
    """
    losses: dict[str, dict[str, Any]] = {
        'CE': dict(type='CrossEntropyLoss', avg_non_ignore=True),
        BCE: dict(type='RMILoss', loss_lambda=1.0),
    }
    for region in regions:
        settings = yaml.safe_load(f'{{{region}}}')
        losses[f'region, {region}'] = {'type': 'RMILoss', 'loss_lambda': 0.0, **settings}
    return losses


def measure(
    model: BaseSegmentor, losses: Mapping[str, nn.Module], batch: Mapping[str, Any]
) -> Batch:
    """Measure the gradient of each loss in the network as it is, in one batch."""
    data = model.data_preprocessor(batch, training=True)
    logits = model.decode_head(model.extract_feat(data['inputs']))
    labels = torch.stack([sample.gt_sem_seg.data for sample in data['data_samples']])
    counts = count_pixels(labels, num_classes=logits.shape[1])
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    stats = {}
    for name, loss in losses.items():
        model.decode_head.loss_decode = loss
        # Of the class that all heads have: a streamed head would ask the loss to stream.
        found_losses = BaseDecodeHead.loss_by_feat(model.decode_head, logits, data['data_samples'])
        value = found_losses[loss.loss_name]
        (on_logits,) = torch.autograd.grad(value, logits)
        found = torch.autograd.grad(logits, weights, on_logits, retain_graph=True)
        squares = on_logits.square().sum(dim=(2, 3))
        total = squares.sum()
        stats[name] = GradientStats(
            weights=torch.cat([gradient.flatten() for gradient in found]),
            largest_image=float(squares.sum(dim=1).max() / total),
            absent=float(squares[counts == 0].sum() / total),
            classes=squares.sum(dim=0) / total,
        )
    return Batch(stats, pixels=counts.sum(dim=0) / counts.sum())


def count_pixels(labels: Tensor, num_classes: int) -> Tensor:
    """Count the pixels of each class (column) in each image (row); labels are up to 255."""
    counts = torch.stack([label.flatten().bincount(minlength=256) for label in labels])
    return counts[:, :num_classes]


def agreement(vectors: Tensor) -> float:
    """Mean cosine between two different rows."""
    unit = F.normalize(vectors, dim=1)
    count = len(unit)
    return float((unit @ unit.T).sum() - count) / (count * (count - 1))


def tabulate_losses(batches: Sequence[Mapping[str, GradientStats]], caption: str) -> Table:
    """A row of each loss, over all batches."""
    columns = (
        'norm, BCE = 1',
        'cosine with BCE',
        'between batches',
        'largest image',
        'absent classes',
    )
    table = Table(Column(no_wrap=True), *columns, caption=caption)
    vectors = {name: torch.stack([batch[name].weights for batch in batches]) for name in batches[0]}
    for name, found in vectors.items():
        norm = (found.norm(dim=1) / vectors[BCE].norm(dim=1)).median()
        cosine = F.cosine_similarity(found, vectors[BCE]).mean()
        table.add_row(
            name,
            f'{norm:.2f}',
            f'{cosine:.2f}',
            f'{agreement(found):.2f}',
            f'{mean(batch[name].largest_image for batch in batches):.0%}',
            f'{mean(batch[name].absent for batch in batches):.1%}',
        )
    return table


def tabulate_classes(batches: Sequence[Batch], names: Iterable[str]) -> Table:
    """A row of each class: its share of the pixels and, by loss, of the gradient of the logits."""
    losses = list(batches[0].losses)
    shares = [torch.stack([batch.pixels for batch in batches]).mean(dim=0)]
    for loss in losses:
        found = [batch.losses[loss].classes for batch in batches]
        shares.append(torch.stack(found).mean(dim=0))
    columns = (Column(name, overflow='fold') for name in ('pixels', *losses))
    table = Table(Column('share of', no_wrap=True), *columns)
    for name, row in zip(names, torch.stack(shares, dim=1).tolist(), strict=True):
        table.add_row(name, *(f'{share:.1%}' for share in row))
    return table


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Measure the gradients of the terms of RMI')
    parser.add_argument('config', help='that trained the network')
    parser.add_argument('checkpoint', help='of the network')
    parser.add_argument(
        '--region',
        nargs='+',
        default=RIDGES,
        help="settings of RMILoss, as 'KEY: VALUE, KEY: VALUE'",
    )
    parser.add_argument('--batches', type=int, default=12, help='of training images')
    launch.add_config_options(parser)
    add_debug_argument(parser)
    return parser.parse_args()


def main() -> None:
    """Print the table."""
    args = parse_args()
    if args.batches < 2:
        raise SystemExit(f'--batches must be at least 2, to compare them, not {args.batches}')
    # In test mode: no batch changes it.
    cfg, model = open_trained(args.config, args.checkpoint, args.cfg_options)
    losses = {name: MODELS.build(loss) for name, loss in make_losses(args.region).items()}
    set_random_seed(0)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    seen = track(islice(loader, args.batches), total=args.batches)
    batches = [measure(model, losses, batch) for batch in seen]
    console = Console()
    console.print(tabulate_losses([batch.losses for batch in batches], describe_run('cpu')))
    console.print(tabulate_classes(batches, loader.dataset.metainfo['classes']))


if __name__ == '__main__':
    run_tool(main)
