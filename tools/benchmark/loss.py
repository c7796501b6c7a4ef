"""Measure what losses cost beside cross entropy: time and memory of forward and backward.

On a CPU, times are medians of calls of a loss and of cross entropy in turn, in a process of their
own for each such pair, and memory is the extra peak of one call in a process of its own. On a GPU
all losses of a case take turns in this process, timed by the device.

On a CPU fresh memory is dear, and glibc hands back what is freed; to see the cost without that, set
``MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000`` before the command.

    python -m tools.benchmark.loss                         # the tables of docs/cost.md, 6 minutes
    python -m tools.benchmark.loss --sections sweeps --out work_dirs/sweeps
    python -m tools.benchmark.loss --markdown work_dirs/benchmark/benchmark.json
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from mmseg_rmi.utils.command_line import add_debug_argument, run_tool
from tools.benchmark import report
from tools.benchmark.cases import CPU_CASES, GPU_CASES, LOGITS, Case
from tools.benchmark.figures import draw_sweeps
from tools.benchmark.machine import describe_run, describe_versions
from tools.benchmark.measure import copy_bandwidth, measure_apart, measure_together
from tools.benchmark.methods import (
    OTHERS,
    RELEASED,
    SCALES,
    STREAMED,
    WITH_CE,
    build_workloads,
    method_names,
)

ON_CPU = ('CE', 'RMI', WITH_CE, SCALES, *OTHERS, RELEASED, 'RMI, reference')


def methods_of(case: Case, device: str) -> list[str]:
    """Choose what a case is measured with."""
    names = method_names(case)
    if device == 'cuda':  # to compile for every shape of a sweep takes minutes
        return [name for name in names if not (case.sweep and name == 'CE, compiled')]
    if case.sweep:
        return ['CE', 'RMI']
    return [name for name in ON_CPU if name in names] if case.stage == 'loss' else ['CE', STREAMED]


def measure(cases: list[Case], device: str, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a record per case and method, cross entropy first."""
    with Progress(transient=True) as progress:
        task = progress.add_task('measuring', total=len(cases))
        for case in cases:
            progress.update(task, description=case.title)
            names = methods_of(case, device)
            if device == 'cuda':
                yield from measure_together(case, device, names, rounds)
            else:
                yield from measure_apart(case, names, rounds, with_memory=not case.sweep)
            progress.advance(task)


def profile(case: Case, device: str, calls: int = 3) -> str:
    """Find where the time of RMI goes: a table of operations, the longest first."""
    workload = build_workloads(case, device, ['RMI'])['RMI']()
    for _ in range(calls):
        workload.forward().backward()
    with torch.profiler.profile() as profiler:
        for _ in range(calls):
            workload.forward().backward()
    rows = profiler.key_averages(group_by_input_shape=False)
    return rows.table(sort_by=f'self_{device}_time_total', row_limit=30)


def print_markdown(file: Path) -> None:
    """Print the tables of the README and of docs/cost.md from an earlier run."""
    found = json.loads(file.read_text())
    records = found['records']
    print(f'{found["machine"]}\n')
    tables = (report.markdown_summary, report.markdown_cases, report.markdown_sweeps)
    print(*(table(records) for table in tables), sep='\n\n')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sections = ('losses', 'heads', 'step', 'sweeps')
    parser.add_argument(
        '--sections', nargs='+', choices=sections, default=sections[:-1], help='what to measure'
    )
    parser.add_argument('--device', default='cpu', choices=('cpu', 'cuda'), help='to measure on')
    parser.add_argument('--rounds', type=int, default=7, help='calls of each loss')
    parser.add_argument('--threads', type=int, help='threads on the CPU; all cores by default')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/benchmark'), help='folder of tables and plot'
    )
    parser.add_argument('--profile', action='store_true', help='show where the time of RMI goes')
    parser.add_argument(
        '--markdown', type=Path, metavar='JSON', help='measure nothing; print tables of this file'
    )
    add_debug_argument(parser)
    return parser.parse_args()


def main() -> None:
    """Measure, print tables, and leave them in a folder."""
    args = parse_args()
    if args.markdown:
        print_markdown(args.markdown)
        return
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.profile:
        print(profile(LOGITS, args.device))
        return
    by_section = GPU_CASES if args.device == 'cuda' else CPU_CASES
    cases = [case for section in args.sections for case in by_section[section]]
    records = list(measure(cases, args.device, args.rounds))
    report.add_ratios(records, copy_bandwidth('cuda') if args.device == 'cuda' else 0)
    machine = describe_run(args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    found = dict(machine=machine, versions=describe_versions(), records=records)
    (args.out / 'benchmark.json').write_text(json.dumps(found, indent=1))
    with (args.out / 'benchmark.txt').open('w') as file:
        for console in (Console(width=120), Console(file=file, width=120)):
            console.print(*report.rich_tables(records, machine))
    draw_sweeps(records, args.out / 'cost.png', machine)


if __name__ == '__main__':
    run_tool(main)
