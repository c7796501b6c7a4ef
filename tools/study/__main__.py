"""Run the study of losses and report it: ``python tools/study list | run | report | pack``.

Every cell is an ordinary ``tools/train.py`` and ``tools/test.py``. A finished cell becomes a line
of the results at once and is not run again; a run that was cut off goes on from its last
checkpoint.
"""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

if not __package__:  # `python tools/study`, which puts the folder itself there
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from mmseg_rmi.utils.command_line import add_debug_argument, run_tool
from tools.study import pool
from tools.study.budget import Budget
from tools.study.metafile import write_metafile
from tools.study.monitor import Monitor
from tools.study.pack import pack
from tools.study.plan import Plan, read_plan
from tools.study.platforms import (
    PRECISIONS,
    Platform,
    fitting_jobs,
    loading_options,
)
from tools.study.report import report
from tools.study.requirements import find_missing
from tools.study.results import Results, read_entries
from tools.study.runner import Runner
from tools.study.work_queue import WorkQueue, choose
from tools.tool_process import ROOT

PLAN = ROOT / 'configs' / 'study' / 'plan.yaml'
RESULTS = ROOT / 'docs' / 'study' / 'results'
METAFILE = ROOT / 'configs' / 'study' / 'metafile.yaml'
WEIGHTS = Path('work_dirs/pretrained')


def make_list(queue: WorkQueue) -> Table:
    """Tabulate all cells, with their results as far as there are any."""
    table = Table('cell', 'learning rate', 'mIoU', 'state')
    plan, results = queue.plan, queue.results
    for cell in queue.wanted:
        result, factor = results.find(plan, cell), results.factor(plan, cell)
        rate = '-' if factor is None else f'x {factor:g}'
        score = '' if result is None else f'{result["metrics"].get("mIoU", "diverged")}'
        others = len(results.named(cell.name)) - (result is not None)
        state = 'left' if result is None else 'done'
        state += f', {others} of other settings' if others else ''
        table.add_row(cell.name, rate, score, state)
    return table


def leave_out(queue: WorkQueue, data: Path, weights: Path, named: bool) -> str:
    """Leave out the cells that lack data, weights or a library here; return a line about them.

    Raises:
        ValueError: the cells were named; says what is missing, and what makes it.
    """
    missing = find_missing(queue.plan, queue.left(), data, weights)
    if missing and named:
        raise ValueError('; '.join(missing))
    without = {cell for cells in missing.values() for cell in cells}
    queue.wanted = [cell for cell in queue.wanted if cell not in without]
    return '; '.join(f'{len(cells)} cells left out: {why}' for why, cells in missing.items())


def run(args: argparse.Namespace, console: Console) -> int:
    """Run cells; return the status of the process."""
    platform = Platform.here(args.device, args.precision, args.data)
    plan, results = read_plan(args.plan), Results(args.results, platform)
    budget = Budget(args.minutes, platform.is_cpu)
    wanted = choose(plan, results, args.cells, args.again)
    queue = WorkQueue(plan, results, args.work_dir.resolve(), wanted, budget)
    if said := leave_out(queue, args.data, args.weights, named=bool(args.cells)):
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    jobs = args.jobs or fitting_jobs(platform)
    monitor = Monitor(console, queue)
    with pool.exclusive_lock(queue.work_dir) as lock:
        runner = Runner(
            args.data.resolve(),
            args.weights.resolve(),
            threads=args.threads or (2 if platform.is_cpu else 1),
            lock=lock,
            note=monitor.note,
            loading=loading_options(platform, jobs),
        )
        pool.run_all(queue, runner, monitor, jobs)
    if args.cells:
        console.print(make_list(queue))
    return 1 if queue.failed else 0


def show(args: argparse.Namespace, console: Console) -> int:
    """List cells; return the status of the process."""
    platform = Platform.here(args.device, args.precision, args.data)
    plan, results = read_plan(args.plan), Results(args.results, platform)
    wanted = choose(plan, results, args.cells)
    console.print(make_list(WorkQueue(plan, results, Path(), wanted)))
    return 0


def write(args: argparse.Namespace, console: Console) -> int:
    """Write the report; return the status of the process."""
    plan: Plan = read_plan(args.plan)
    overview, front = args.overview, args.front
    written = []
    if args.results.resolve() == RESULTS:
        overview, front = overview or ROOT / 'docs' / 'study.md', front or ROOT / 'README.md'
        write_metafile(read_entries(RESULTS), str(RESULTS.relative_to(ROOT)), METAFILE)
        written = [METAFILE]
    for page in [*report(plan, args.results, args.page, overview, front), *written]:
        console.print(page, markup=False, highlight=False, soft_wrap=True)
    return 0


def compress(args: argparse.Namespace, console: Console) -> int:
    """Pack data; return the status of the process."""
    size = pack(args.data, args.weights, args.out, args.quality, args.sets)
    console.print(f'{args.out}: {size / 2**20:.1f} MiB')
    return 0


def default_data() -> Path:
    """Name ``data`` here, or in the folder that tests take their data from."""
    return Path(os.environ.get('MMSEG_RMI_DATA', '.')) / 'data'


def positive(text: str) -> int:
    """Read a number of which there must be at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'must be at least 1, got {number}')
    return number


def minutes(text: str) -> float:
    """Read a time, which must be above 0."""
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f'must be above 0, got {number:g}')
    return number


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog='study', description='Run the study of losses')
    add_debug_argument(parser)
    commands = parser.add_subparsers(required=True, metavar='list | run | report | pack')
    _add_list(commands)
    _add_run(commands)
    _add_report(commands)
    _add_pack(commands)
    return parser.parse_args()


def _add_files(command: argparse.ArgumentParser) -> None:
    command.add_argument('--plan', type=Path, default=PLAN, help='of cells, by default %(default)s')
    command.add_argument(
        '--results',
        type=Path,
        default=RESULTS,
        help='where results are, and go: a file NAME.jsonl, or a folder with one for each data '
        'set; begin yours as a copy to keep the rates that were tuned',
    )


def _add_cells(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        'cells', nargs='*', metavar='CELL', help="these alone, such as 'drive/*/seed0'; else all"
    )


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        '--data', type=Path, default=default_data(), help='folder of the data sets, %(default)s'
    )


def _add_weights(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        '--weights', type=Path, default=WEIGHTS, help='folder of pretrained backbones'
    )


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    command.add_argument(
        '--precision', choices=PRECISIONS, help='float32 on CPUs, tf32 on cards by default'
    )


def _add_list(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser('list', help='show the cells, and what is done')
    _add_cells(command)
    _add_files(command)
    _add_data(command)
    _add_device(command)
    command.set_defaults(act=show)


def _add_run(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser('run', help='run what is left, or the named cells')
    _add_cells(command)
    _add_files(command)
    _add_data(command)
    _add_weights(command)
    _add_device(command)
    command.add_argument(
        '--again', action='store_true', help='run the named cells once more, with the same seed'
    )
    command.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/study'), help='of checkpoints and logs'
    )
    command.add_argument(
        '--minutes', type=minutes, help='start only what will be over by then, and stop then'
    )
    command.add_argument(
        '--jobs', type=positive, help='cells at a time, each on cores of its own; what fits'
    )
    # With one thread, torch leaves 1x1 convolutions to a routine that takes twice as long.
    command.add_argument('--threads', type=positive, help='of each cell: 2 on CPUs, 1 on cards')
    command.set_defaults(act=run)


def _add_report(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser('report', help='make tables and figures of the results')
    _add_files(command)
    command.add_argument(
        '--page',
        type=Path,
        help='to write to, with figures beside it. By default README.md beside a folder of '
        'results; beside a file NAME.jsonl, NAME.md with figures in a folder NAME',
    )
    command.add_argument(
        '--overview', type=Path, help="for one figure; the project's docs/study.md has its results'"
    )
    command.add_argument(
        '--front', type=Path, help="for a few gains; the project's README.md has its results'"
    )
    command.set_defaults(act=write)


def _add_pack(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser('pack', help='compress the data for a machine without any')
    _add_data(command)
    _add_weights(command)
    command.add_argument('--out', type=Path, required=True, help='folder, which is made')
    command.add_argument('--quality', type=positive, default=75, help='of JPEG, %(default)s')
    command.add_argument('--sets', nargs='+', help='folders of --data; all by default')
    command.set_defaults(act=compress)


def main() -> int:
    """Do what the command line says."""
    args = parse_args()
    status: int = args.act(args, Console())
    return status


if __name__ == '__main__':
    run_tool(main, 'Stopped: the same command goes on from the last checkpoints.')
