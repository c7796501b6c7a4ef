"""Measure what losses cost: time and memory of forward and backward, as ratios to cross entropy.

Times are medians of calls of a loss and of cross entropy in turn, in one process for each such
pair; memory is the extra peak of one call in a process of its own. Runs on the CPU or, with
``--device cuda``, on a GPU. On the CPU fresh memory is dear, and glibc hands back what is freed; to
see the cost without that, set these two variables before the command:
``MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000``.

    python tools/analysis/benchmark_loss.py                        # everything, about 20 minutes
    python tools/analysis/benchmark_loss.py --sections losses heads --out work_dirs/benchmark
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from straight_rmi import straight_rmi
from torch import Tensor
from torch.nn import functional as F

import mmseg_rmi
from mmseg_rmi.functional import RMISettings, rmi_objective

Loss = Callable[[Tensor, Tensor], Tensor]
SLOW = 2.0  # seconds; where a call takes longer, three are enough


@dataclass(frozen=True)
class Case:
    """One shape of inputs and one choice of settings."""

    section: str
    batch: int = 4
    classes: int = 21
    size: int = 513
    present: int = 21
    factor: int = 4
    region: int = 3
    low: int = 0  # side of the logits that a head is given

    @property
    def title(self) -> str:
        shape = f'[{self.batch}, {self.classes}, {self.size}, {self.size}]'
        if self.section == 'heads':
            shape = f'[{self.batch}, {self.classes}, {self.low}, {self.low}] -> {self.size}'
        if self.section == 'step':
            return f'DeepLabv3+ ResNet-18, batch {self.batch}, {self.size} x {self.size}'
        return f'{shape}, {self.present} classes present, DF {self.factor}, R {self.region}'


MAIN = Case('losses')
CASES: dict[str, list[Case]] = {
    'losses': [MAIN, replace(MAIN, present=3)],
    'heads': [
        Case('heads', batch=16, low=129, present=3),
        Case('heads', batch=4, classes=150, size=512, low=128, present=10),
    ],
    'step': [Case('step', batch=4, size=513, present=3)],
    'sweeps': [
        *(Case('batch', batch=batch) for batch in (1, 2, 4, 8)),
        *(Case('size', size=size) for size in (129, 257, 513, 769)),
        *(Case('classes', batch=2, classes=c, present=c) for c in (2, 11, 21, 60, 150)),
        *(Case('density', present=present) for present in (1, 3, 10, 21)),
        Case('density', batch=2, classes=150, present=10),
        *(Case('factor', factor=factor) for factor in (1, 2, 4, 6)),
        *(Case('region', region=region) for region in (1, 2, 3, 5)),
    ],
}


def make_labels(case: Case, device: str) -> Tensor:
    """Blobs of about equal size, ``present`` classes in every image."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(case.batch, case.present, 9, 9, generator=generator)
    labels = F.interpolate(noise, size=(case.size, case.size), mode='bilinear').argmax(dim=1)
    return labels.to(device)


def make_logits(case: Case, device: str) -> Tensor:
    side = case.low or case.size
    shape = (case.batch, case.classes, side, side)
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return logits.to(device).requires_grad_()


def names_of(case: Case) -> list[str]:
    """The losses to set beside cross entropy in a case."""
    if case.section in ('heads', 'step'):
        return ['RMI, streamed']
    return [name for name in losses_of(case) if name != 'CE']


def losses_of(case: Case) -> dict[str, Loss]:
    """The losses to compare in a case, cross entropy first."""
    settings = RMISettings(region_size=case.region, downsample_factor=case.factor)
    rmi = dict(type='RMILoss', region_size=case.region, downsample_factor=case.factor)
    found: dict[str, Loss] = {
        'CE': lambda logits, labels: F.cross_entropy(logits, labels, ignore_index=255),
        'RMI': MODELS.build(rmi),
    }
    if case.section == 'losses':
        ce, dice = MODELS.build(dict(type='CrossEntropyLoss')), MODELS.build(dict(type='DiceLoss'))
        found |= {
            'CE + affinity': MODELS.build(dict(type='AffinityFieldLoss')),
            'CE + Dice (mmseg)': lambda logits, labels: ce(logits, labels) + dice(logits, labels),
            'Lovasz (mmseg)': MODELS.build(dict(type='LovaszLoss', reduction='none')),
            'RMI, readable': lambda logits, labels: rmi_objective(logits, labels, settings),
            'RMI, released maths': lambda logits, labels: straight_rmi(logits, labels),
        }
    return found


def steps_of(case: Case, device: str) -> dict[str, Callable[[], Tensor]]:
    """What is timed in a case: calls that return the loss to go backward from."""
    if case.section == 'step':
        return {name: _training_step(case, device, name) for name in ('CE', 'RMI, streamed')}
    logits, labels = make_logits(case, device), make_labels(case, device)
    if case.section == 'heads':
        samples = [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]
        return {name: _head_stage(case, name, logits, samples) for name in ('CE', 'RMI, streamed')}
    return {name: _loss_call(loss, logits, labels) for name, loss in losses_of(case).items()}


def _loss_call(loss: Loss, logits: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    def call() -> Tensor:
        logits.grad = None
        return loss(logits, labels)

    return call


def _head_stage(
    case: Case, name: str, logits: Tensor, samples: list[SegDataSample]
) -> Callable[[], Tensor]:
    kind = 'ASPPHead' if name == 'CE' else 'RMIASPPHead'
    head = MODELS.build(dict(type=kind, in_channels=8, channels=8, num_classes=case.classes))

    def call() -> Tensor:
        logits.grad = None
        return _sum_losses(head.loss_by_feat(logits, samples))

    return call


def _training_step(case: Case, device: str, name: str) -> Callable[[], Tensor]:
    torch.manual_seed(0)
    kind = 'DepthwiseSeparableASPPHead'
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(
                type='ResNetV1c',
                depth=18,
                out_indices=(0, 1, 2, 3),
                strides=(1, 2, 2, 1),
                dilations=(1, 1, 1, 2),
                norm_cfg=dict(type='BN'),
            ),
            decode_head=dict(
                type=kind if name == 'CE' else f'RMI{kind}',
                in_channels=512,
                in_index=3,
                channels=128,
                c1_in_channels=64,
                c1_channels=12,
                dilations=(1, 6, 12, 18),
                num_classes=case.classes,
                norm_cfg=dict(type='BN'),
            ),
        )
    ).to(device)
    images = torch.randn(case.batch, 3, case.size, case.size, device=device)
    labels = make_labels(case, device)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]

    def call() -> Tensor:
        model.zero_grad()
        return _sum_losses(model.loss(images, samples))

    return call


def _sum_losses(values: dict[str, Tensor]) -> Tensor:
    return sum(value for name, value in values.items() if 'loss' in name)


def time_pair(case: Case, device: str, name: str, rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of forward, backward and both, of a loss and of cross entropy in turn."""
    steps = steps_of(case, device)
    seconds: dict[str, list[tuple[float, float]]] = {'CE': [], name: []}
    for _ in range(rounds + 1):
        if len(seconds[name]) > 3 and sum(seconds[name][-1]) > SLOW:
            break
        for kind, spent in seconds.items():
            start = _now(device)
            loss = steps[kind]()
            middle = _now(device)
            loss.backward()
            spent.append((middle - start, _now(device) - middle))
    return {kind: _medians(spent[1:]) for kind, spent in seconds.items()}


def _medians(spent: list[tuple[float, float]]) -> dict[str, float]:
    return dict(
        forward=statistics.median(forward for forward, _ in spent),
        backward=statistics.median(backward for _, backward in spent),
        total=statistics.median(sum(both) for both in spent),
    )


def _now(device: str) -> float:
    if device == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter()


def measure_memory(case: Case, device: str, name: str) -> int:
    """Extra peak bytes of one forward and backward, measured in this process."""
    for step in steps_of(replace(case, batch=2, size=64, low=case.low and 16), device).values():
        step().backward()  # loads what the first call loads
    step = steps_of(case, device)[name]
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step().backward()
        return torch.cuda.max_memory_allocated() - before
    Path('/proc/self/clear_refs').write_text('5')  # the peak starts anew
    before = _status('VmRSS')
    step().backward()
    return _status('VmHWM') - before


def _status(field: str) -> int:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def in_own_process(task: str, case: Case, device: str, name: str, rounds: int) -> Any:
    """Answer of a process that does one task only: what others leave in memory changes times."""
    request = json.dumps(
        dict(task=task, case=asdict(case), device=device, name=name, rounds=rounds)
    )
    command = [sys.executable, __file__, '--answer', request]
    if device == 'cpu':
        command += ['--threads', str(torch.get_num_threads())]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


def answer(request: dict[str, Any]) -> Any:
    case, device, name = Case(**request['case']), request['device'], request['name']
    if request['task'] == 'memory':
        return measure_memory(case, device, name)
    return time_pair(case, device, name, request['rounds'])


def measure(cases: list[Case], device: str, rounds: int) -> Iterator[dict[str, Any]]:
    """One record per case and loss, cross entropy first; it is timed beside each of the others."""
    with Progress(transient=True) as progress:
        task = progress.add_task('measuring', total=len(cases))
        for case in cases:
            progress.update(task, description=case.title)
            for name in names_of(case):
                pair = in_own_process('time', case, device, name, rounds)
                for kind in ('CE', name) if name == names_of(case)[0] else (name,):
                    record = dict(case=asdict(case), title=case.title, loss=kind, **pair[kind])
                    record['time_to_ce'] = pair[kind]['total'] / pair['CE']['total']
                    if case.section in CASES:
                        record['memory'] = in_own_process('memory', case, device, kind, rounds)
                    yield record
            progress.advance(task)


def add_ratios(records: list[dict[str, Any]]) -> None:
    """Divide by cross entropy and by the number, or the bytes, of the full-resolution logits."""
    reference = {str(r['case']): r for r in records if r['loss'] == 'CE'}
    for record in records:
        ce, case = reference[str(record['case'])], record['case']
        logits = case['batch'] * case['classes'] * case['size'] ** 2
        record['ns_per_logit'] = 1e9 * record['total'] / logits
        if 'memory' in record:
            record['memory_to_ce'] = record['memory'] / ce['memory']
            record['memory_to_logits'] = record['memory'] / (4 * logits)


def tables(records: list[dict[str, Any]], machine: str) -> Iterator[Table]:
    """One table per case of which memory was measured, one for all sweeps."""
    measured = [r for r in records if 'memory' in r]
    for title in dict.fromkeys(r['title'] for r in measured):
        times = ('forward ms', 'backward ms', 'total ms', 'time / CE')
        memories = ('extra MB', 'memory / CE', 'memory / logits')
        table = Table('loss', *times, *memories, title=title, caption=machine)
        for r in measured:
            if r['title'] == title:
                cells = [f'{1e3 * r[part]:.1f}' for part in ('forward', 'backward', 'total')]
                cells += [f'{r["time_to_ce"]:.2f}', f'{r["memory"] / 1e6:.0f}']
                cells += [f'{r[ratio]:.2f}' for ratio in ('memory_to_ce', 'memory_to_logits')]
                table.add_row(r['loss'], *cells)
        yield table
    columns = ('sweep', 'case', 'loss', 'total ms', 'ns / logit', 'time / CE')
    table = Table(*columns, title='sweeps', caption=machine)
    for r in records:
        if 'memory' not in r:
            cells = (
                f'{1e3 * r["total"]:.1f}',
                f'{r["ns_per_logit"]:.2f}',
                f'{r["time_to_ce"]:.2f}',
            )
            table.add_row(r['case']['section'], r['title'], r['loss'], *cells)
    if table.row_count:
        yield table


def draw(records: list[dict[str, Any]], folder: Path, machine: str) -> None:
    """Cost against batch, pixels and classes."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    axes_of = dict(batch='images', size='million pixels an image', classes='classes, all present')
    drawn = [name for name in axes_of if any(r['case']['section'] == name for r in records)]
    if not drawn:
        return
    figure, axes = plt.subplots(1, len(drawn), figsize=(4.2 * len(drawn), 3.4), squeeze=False)
    for axis, section in zip(axes[0], drawn, strict=True):
        for loss in ('CE', 'RMI'):
            rows = [r for r in records if r['case']['section'] == section and r['loss'] == loss]
            amounts = [r['case'][section] for r in rows]
            if section == 'size':
                amounts = [side**2 / 1e6 for side in amounts]
            axis.plot(amounts, [1e3 * r['total'] for r in rows], marker='o', label=loss)
        axis.set(xlabel=axes_of[section], ylabel='ms, forward + backward', xlim=0, ylim=0)
        axis.legend(frameon=False)
    figure.suptitle(machine, fontsize=8)
    figure.tight_layout()
    figure.savefig(folder / 'cost.png', dpi=150)


def profile(case: Case, device: str, name: str = 'RMI', calls: int = 3) -> str:
    """Where the time of a loss goes: a table of operations, the longest first."""
    step = steps_of(case, device)[name]
    for _ in range(calls):
        step().backward()
    with torch.profiler.profile() as profiler:
        for _ in range(calls):
            step().backward()
    rows = profiler.key_averages(group_by_input_shape=False)
    return rows.table(sort_by=f'self_{device}_time_total', row_limit=30)


def describe_machine(device: str) -> str:
    where = torch.cuda.get_device_name() if device == 'cuda' else f'{platform.machine()} CPU'
    threads = f'{torch.get_num_threads()} threads'
    return f'{where}, {threads}, torch {torch.__version__}, {date.today():%Y-%m-%d}'


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--sections',
        nargs='+',
        choices=CASES,
        default=list(CASES),
        help='to measure, by default all',
    )
    parser.add_argument('--device', default='cpu', choices=('cpu', 'cuda'), help='to measure on')
    parser.add_argument('--rounds', type=int, default=11, help='calls of each loss')
    parser.add_argument('--threads', type=int, help='threads on the CPU; all cores by default')
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/benchmark_loss'),
        help='folder for the table, JSON and plot',
    )
    parser.add_argument('--profile', action='store_true', help='show where the time of RMI goes')
    parser.add_argument('--answer', type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.answer:
        print(json.dumps(answer(arguments.answer)))
        return
    if arguments.profile:
        print(profile(MAIN, arguments.device))
        return
    cases = [case for section in arguments.sections for case in CASES[section]]
    records = list(measure(cases, arguments.device, arguments.rounds))
    add_ratios(records)
    machine = f'{describe_machine(arguments.device)}, mmseg_rmi {mmseg_rmi.__version__}'
    arguments.out.mkdir(parents=True, exist_ok=True)
    report = dict(machine=machine, records=records)
    (arguments.out / 'benchmark.json').write_text(json.dumps(report, indent=1))
    with (arguments.out / 'benchmark.txt').open('w') as file:
        for console in (Console(), Console(file=file, width=120)):
            console.print(*tables(records, machine))
    draw(records, arguments.out, machine)


if __name__ == '__main__':
    main()
