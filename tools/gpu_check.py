"""Check and measure the loss on a GPU: ``python tools/gpu_check.py --out DIR``.

Takes at most 8 minutes on a card of the H100's class: whether value and gradient are right there,
what losses, heads and training steps cost, the tests that need a card, and a short real training.
The most telling comes first, and ``gpu_check.json`` is written after every figure, so that a run
that is cut off has told something. Figures and Markdown tables lie beside it. Exits with 1 if any
part failed.

    python tools/gpu_check.py --out work_dirs/gpu_check --device cpu --quick    # a rehearsal
"""

import argparse
import faulthandler
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a bare machine has no other copy
from mmseg_rmi.utils.command_line import add_debug_argument, run_tool
from tools.benchmark import correctness, report, training
from tools.benchmark.cases import GPU_CASES, Case
from tools.benchmark.figures import draw_cases, draw_sweeps
from tools.benchmark.machine import describe_run, describe_versions
from tools.benchmark.measure import copy_bandwidth, measure_together
from tools.benchmark.methods import (
    OTHERS,
    RELEASED,
    SCALES,
    STREAMED,
    WITH_CE,
    chosen_implementation,
    method_names,
)
from tools.tool_process import ROOT, import_path

FAST = ('CE', 'RMI', STREAMED, WITH_CE, 'RMI, torch', 'CE, compiled')
TEST_LIMIT = 120  # seconds
CHECK_LIMIT = 60
CASE_LIMIT = 15
TRAINING_TIME = 120
GRACE = 40  # seconds over the time after which a run that hangs is ended


class Run:
    """The findings so far, and the time that is left for more."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.device: str = args.device
        self.quick: bool = args.quick
        self.out: Path = args.out
        self.deadline = time.monotonic() + 60 * args.minutes
        self.console = Console(width=120)
        self.found: dict[str, Any] = dict(
            machine=describe_run(self.device),
            implementation=chosen_implementation(self.device),
            versions=describe_versions(),
            parts={},
            records=[],
            correctness=[],
        )
        self.found['bandwidth'] = copy_bandwidth(self.device, 16 if self.quick else 1024)

        self.drawn = 0  # records

    def answers(self) -> bool:
        """Tell whether the device still works; after some errors it never does in this process."""
        try:
            return torch.ones(1, device=self.device).item() == 1
        except RuntimeError:
            return False

    def left(self) -> float:
        """Seconds until the end."""
        return self.deadline - time.monotonic()

    def within(self, limit: float) -> float:
        """Shorten a limit to the seconds that are left, but not below one."""
        return max(1.0, min(limit, self.left()))

    def save(self) -> None:
        """Write all that is known by now."""
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / 'gpu_check.json').write_text(json.dumps(self.found, indent=1))

    def execute(self, name: str, part: Callable[['Run'], dict[str, Any]]) -> None:
        """Run a part and note how it went; its failure is no end of the others."""
        self.console.rule(f'{name}, {self.left():.0f} s left')
        self.found['parts'][name] = dict(status='begun')
        self.save()
        began = time.monotonic()
        try:
            outcome = {'status': 'passed', **part(self)}
        except Exception as error:
            outcome = dict(status='failed', error=traceback.format_exc())
            self.console.print(f'{type(error).__name__}: {error}', markup=False)
        self.found['parts'][name] = dict(outcome, seconds=round(time.monotonic() - began, 1))
        self.save()

    def measure(self, cases: Iterable[Case], names: Iterable[str], *, keep: float = 0) -> int:
        """Measure methods in cases, while more than ``keep`` seconds are left.

        Returns:
            The number of cases for which there was no time.

        Raises:
            RuntimeError: a method failed.
        """
        names, failed, skipped = tuple(names), [], 0
        if self.quick:
            cases = dict.fromkeys(case.shrunk() for case in cases)  # some are the same now
        for case in cases:
            if not self.answers():
                break
            if self.left() < keep:
                skipped += 1
                continue
            self.console.print(f'[bold]{case.title}[/]', highlight=False)
            chosen = [name for name in method_names(case) if name in names]
            rounds = 2 if self.quick else 15
            records = measure_together(case, self.device, chosen, rounds, CASE_LIMIT)
            report.add_ratios(records, self.found['bandwidth'])
            known = [(r['case'], r['method']) for r in self.found['records']]
            self.found['records'] += [r for r in records if (r['case'], r['method']) not in known]
            for record in records:
                self.console.print(' ', report.one_line(record), markup=False, highlight=False)
            failed += [f'{r["method"]} in {r["title"]}' for r in records if 'error' in r]
            self.save()
        if failed:
            raise RuntimeError('; '.join(failed))
        return skipped


def run_tests(run: Run) -> dict[str, Any]:
    """Run the tests that carry the marker ``gpu``, of the files that have any."""
    files = [f for f in (ROOT / 'tests').rglob('test_*.py') if 'mark.gpu' in f.read_text()]
    if not files:
        return dict(status='skipped', note='no test carries the marker gpu')
    if missing := [m for m in ('pytest', 'hypothesis') if not importlib.util.find_spec(m)]:
        return dict(status='skipped', note=f'not installed: {", ".join(missing)}')
    variables = {key: value for key, value in os.environ.items() if key != 'TRITON_INTERPRET'}
    variables['PYTHONPATH'] = import_path()
    command = [sys.executable, '-m', 'pytest', '-m', 'gpu', '-q', '-p', 'no:cacheprovider', *files]
    limit = run.within(TEST_LIMIT)
    try:
        done = subprocess.run(
            list(map(str, command)),
            cwd=ROOT,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        said = (error.output or b'').decode(errors='replace')[-6000:]
        return dict(status='failed', note=f'not over after {limit:.0f} s', output=said)
    run.console.print('\n'.join(done.stdout.splitlines()[-8:]), markup=False, highlight=False)
    passed = done.returncode == 0
    return dict(status='passed' if passed else 'failed', output=done.stdout[-6000:])


def check_values(run: Run) -> dict[str, Any]:
    """Compare every implementation with the reference."""
    return check(run, correctness.VALUES)


def check_graphs(run: Run) -> dict[str, Any]:
    """Compile every implementation, and capture it in a CUDA graph."""
    return check(run, correctness.GRAPHS)


def check(run: Run, checks: dict[str, correctness.Check]) -> dict[str, Any]:
    """Run checks of correctness.

    Raises:
        AssertionError: some failed.
    """
    end = time.monotonic() + run.within(CHECK_LIMIT)
    failed = []
    for record in correctness.run_checks(
        checks, run.device, out_of_time=lambda: time.monotonic() > end
    ):
        run.found['correctness'].append(record)
        said = record.get('skipped') or ('ok' if record['passed'] else 'FAILED')
        line = f'{record["check"]}, {record["method"]}: {said} {record.get("note", "")}'
        run.console.print(line, markup=False, highlight=False)
        run.save()
        if record.get('passed') is False:
            failed.append(f'{record["check"]} ({record["method"]})')
    if failed:
        raise AssertionError(f'failed: {", ".join(failed)}')
    return {}


def measure_losses(run: Run) -> dict[str, Any]:
    """Measure RMI and cross entropy, of given logits."""
    return dict(skipped_cases=run.measure(GPU_CASES['losses'], FAST))


def measure_heads(run: Run) -> dict[str, Any]:
    """Measure the loss stages of heads, from logits of low resolution."""
    return dict(skipped_cases=run.measure(GPU_CASES['heads'], FAST))


def measure_steps(run: Run) -> dict[str, Any]:
    """Measure training steps of DeepLabv3+."""
    return dict(skipped_cases=run.measure(GPU_CASES['step'], FAST))


def measure_others(run: Run) -> dict[str, Any]:
    """Measure what others use in the place of RMI, again beside cross entropy."""
    others = ('CE', SCALES, *OTHERS, RELEASED, 'RMI, reference')
    return dict(skipped_cases=run.measure(GPU_CASES['losses'][:2], others))


def measure_sweeps(run: Run) -> dict[str, Any]:
    """Measure how costs grow, but leave time for the training."""
    names = ('CE', 'RMI', 'CE + Dice', RELEASED)
    cases = GPU_CASES['sweeps'][:: 4 if run.quick else 1]
    keep = 0 if run.quick else TRAINING_TIME + 20
    return dict(skipped_cases=run.measure(cases, names, keep=keep))


def train_models(run: Run) -> dict[str, Any]:
    """Train with cross entropy and with RMI for what is left, up to two minutes."""
    with tempfile.TemporaryDirectory() as folder:
        scenes = Path(folder)
        training.draw_scenes(scenes, *((8, 2) if run.quick else (240, 60)))
        began = time.monotonic()
        trial = training.train('ce', scenes, 2 if run.quick else training.TRIAL, run.device)
        left = min(TRAINING_TIME - (time.monotonic() - began), run.left() - 10)
        seconds = left / len(training.LOSSES)
        iterations = 2 if run.quick else training.iterations_within(seconds, trial)
        results: list[dict[str, Any]] = []
        for loss in training.LOSSES:
            results.append(training.train(loss, scenes, iterations, run.device))
            found = results[-1]
            run.console.print(
                f'{loss}: {found["iterations"]} iterations of {1e3 * found["seconds"]:.1f} ms, '
                f'mIoU {found["mIoU"]:.1f}, {found["memory"] / 1e6:.0f} MB',
                highlight=False,
            )
            run.found['training'] = results
            run.save()
    return {}


PARTS: dict[str, Callable[[Run], dict[str, Any]]] = {
    'values': check_values,
    'losses': measure_losses,
    'heads': measure_heads,
    'step': measure_steps,
    'tests': run_tests,
    'others': measure_others,
    'graphs': check_graphs,
    'sweeps': measure_sweeps,
    'training': train_models,
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, required=True, help='folder of JSON, tables, figures')
    parser.add_argument('--minutes', type=float, default=8, help='that it may take')
    parser.add_argument('--device', default='cuda', choices=('cuda', 'cpu'))
    parser.add_argument('--quick', action='store_true', help='tiny shapes: does everything run?')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS))
    parser.add_argument('--go-on', action='store_true', help=argparse.SUPPRESS)
    add_debug_argument(parser)
    args = parser.parse_args()
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''
    elif not torch.cuda.is_available():
        parser.error('torch sees no CUDA device here: rehearse with --device cpu --quick')
    return args


def write_report(run: Run) -> None:
    """Leave tables and figures of what was found."""
    found, records = run.found, run.found['records']
    caption = (
        f'{found["machine"]}, copies at {found["bandwidth"] / 1e12:.2f} TB/s; '
        f"RMI: impl='{found['implementation']}'"
    )
    tables = [f'{caption}.']
    if records:
        tables += [report.markdown_summary(records), report.markdown_cases(records)]
        tables += [report.markdown_sweeps(records)]
    if len(records) > run.drawn:
        draw_cases(records, run.out / 'cases.png', caption)
        draw_sweeps(records, run.out / 'sweeps.png', caption)
        run.drawn = len(records)
    if 'training' in found:
        tables.append(report.markdown_training(found['training']))
    tables.append(report.markdown_parts(found['parts'], found['correctness']))
    (run.out / 'cost.md').write_text('\n\n'.join(filter(None, tables)) + '\n')


def start_afresh(run: Run, parts: list[str]) -> None:
    """Replace this process, to which the device answers no more, by one that does the rest."""
    options = ['--out', str(run.out), '--device', run.device, '--minutes', str(run.left() / 60)]
    options += ['--quick'] * run.quick + ['--go-on', '--parts', *parts]
    run.console.print('The device answers no more: going on in a fresh process.')
    os.execv(sys.executable, [sys.executable, str(Path(__file__).resolve()), *options])


def main() -> int:
    """Run the parts, and report; return the exit status."""
    args = parse_args()
    faulthandler.dump_traceback_later(60 * args.minutes + GRACE, exit=True)
    warnings.simplefilter('ignore')  # of the frameworks, about what is not measured here
    run = Run(args)
    if args.go_on:
        run.found = json.loads((args.out / 'gpu_check.json').read_text())
    else:
        run.console.print(run.found['machine'], run.found['versions'], highlight=False)
    for number, name in enumerate(args.parts):
        if run.left() > 0:
            run.execute(name, PARTS[name])
        else:
            run.found['parts'][name] = dict(status='skipped', note='out of time')
        run.save()
        write_report(run)
        if args.parts[number + 1 :] and not run.answers():
            start_afresh(run, args.parts[number + 1 :])
    faulthandler.cancel_dump_traceback_later()
    run.console.rule('all')
    for name, part in run.found['parts'].items():
        run.console.print(f'{name}: {part["status"]}', highlight=False)
    return int(any(part['status'] == 'failed' for part in run.found['parts'].values()))


if __name__ == '__main__':
    run_tool(main)
