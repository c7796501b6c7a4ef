"""Measure what float32 statistics of regions, for devices without fast float64, lose and gain.

Errors are against float64 on the same logits: of the region term, relative to its value, and of its
gradient, relative to the largest entry. The contrast is the logit by which the prediction holds a
pixel for its class (exact) or against it (inverted), give or take 1.

    python -m tools.benchmark.precision
    python -m tools.benchmark.precision --sizes 257 --regions 3 --out work_dirs/precision.json
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from mmseg_rmi.functional import RMISettings, rmi_loss
from mmseg_rmi.functional.maps import one_hot
from mmseg_rmi.utils.command_line import add_debug_argument, run_tool
from tools.benchmark.machine import describe_run

CLASSES = 5
SIGNS = {'exact': 1, 'inverted': -1}
QUANTITIES = ('value', 'gradient')


def make_batch(size: int, contrast: float, device: str) -> tuple[Tensor, Tensor]:
    """Logits of one image, and its labels: blobs of about equal size."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, CLASSES, 9, 9, generator=generator)
    labels = F.interpolate(noise, size=(size, size), mode='bilinear').argmax(dim=1)
    signs = 2 * one_hot(labels, CLASSES).float() - 1
    logits = contrast * signs + torch.randn(signs.shape, generator=generator)
    return logits.to(device), labels.to(device)


def region_term(logits: Tensor, labels: Tensor, region: int, dtype: torch.dtype) -> list[Tensor]:
    """Compute the region term's value and gradient."""
    settings = RMISettings(region_size=region, loss_lambda=0)
    logits = logits.detach().requires_grad_()
    loss = rmi_loss(logits, labels, settings, region_dtype=dtype, impl='torch')
    return [loss.detach(), *torch.autograd.grad(loss, logits)]


def measure_errors(size: int, region: int, contrast: float, device: str) -> list[float]:
    logits, labels = make_batch(size, contrast, device)
    measured, exact = (
        region_term(logits.double(), labels, region, dtype)
        for dtype in (torch.float32, torch.float64)
    )
    pairs = zip(measured, exact, strict=True)
    return [float((m - e).abs().max() / e.abs().max()) for m, e in pairs]


def measure_seconds(size: int, region: int, device: str, rounds: int) -> list[float]:
    """Medians of float32 and float64, called in turn."""
    logits, labels = make_batch(size, 2.0, device)
    seconds: dict[torch.dtype, list[float]] = {torch.float32: [], torch.float64: []}
    for _, dtype in itertools.product(range(rounds + 1), seconds):
        start = time.perf_counter()
        region_term(logits, labels, region, dtype)
        if device == 'cuda':
            torch.cuda.synchronize()
        seconds[dtype].append(time.perf_counter() - start)
    return [statistics.median(each[1:]) for each in seconds.values()]


def tabulate(records: list[dict[str, Any]], quantity: str, machine: str) -> Table:
    """Errors by contrast, and the time that float32 takes over that of float64."""
    contrasts = [f'{contrast:g}' for contrast in records[0]['contrasts']]
    table = Table('size', 'R', 'time', 'prediction', *contrasts, caption=machine)
    table.title = f'error of the {quantity} in float32'
    for record in records:
        ratio = record['seconds'][0] / record['seconds'][1]
        for kind in SIGNS:
            errors = [pair[QUANTITIES.index(quantity)] for pair in record[kind]]
            cells = [record['size'], record['region'], f'{ratio:.2f}', kind]
            table.add_row(*map(str, cells), *(f'{error:.0e}' for error in errors))
    return table


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--sizes', nargs='+', type=int, default=[129, 513])
    parser.add_argument('--regions', nargs='+', type=int, default=[1, 3, 5])
    parser.add_argument('--contrasts', nargs='+', type=float, default=[1, 2, 5, 10, 20, 50])
    parser.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    parser.add_argument('--rounds', type=int, default=11, help='timed calls of each form')
    parser.add_argument('--out', type=Path, help='JSON file for the figures')
    add_debug_argument(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    device, contrasts = arguments.device, arguments.contrasts
    machine, records = describe_run(device), []
    for size, region in track(list(itertools.product(arguments.sizes, arguments.regions))):
        record: dict[str, Any] = dict(size=size, region=region, contrasts=contrasts)
        record['seconds'] = measure_seconds(size, region, device, arguments.rounds)
        for kind, sign in SIGNS.items():
            record[kind] = [measure_errors(size, region, sign * c, device) for c in contrasts]
        records.append(record)
    Console().print(*(tabulate(records, quantity, machine) for quantity in QUANTITIES))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(dict(machine=machine, records=records), indent=1))


if __name__ == '__main__':
    run_tool(main)
