"""Train a small DeepLabv3+ with cross entropy and with RMI, and compare: ``python tools/demo.py``.

The demo runs ``tools/train.py`` and ``tools/test.py`` on the configs in ``configs/demo``, on street
scenes that it draws first, or on a copy of CamVid (``--data``). It may be stopped at any time: run
again, it goes on from the last checkpoint.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich import progress as bars
from rich.console import Console

from mmseg_rmi.utils.command_line import add_debug_argument, run_tool, user_path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools import demo_report as report
from tools.tool_process import Progress, follow_tool

TOOLS = Path(__file__).resolve().parent
CONFIGS = TOOLS.parent / 'configs' / 'demo'
SCENES = 'deeplabv3plus_r18-d16_1xb4-{}-800_street-scenes-144x192.py'
CAMVID = 'deeplabv3plus_r18-d16_1xb4-{}-2k_camvid-240x320.py'
LOSSES = ('CE', 'RMI')
SHOWN_IMAGES = 2

# A smoke run: everything happens, little is learnt.
SHORT_IMAGES = 8
SHORT_OPTIONS = (
    'train_cfg.max_iters=40',
    'train_cfg.val_interval=40',
    'param_scheduler.0.end=10',
    'param_scheduler.1.begin=10',
    'param_scheduler.1.end=40',
    'default_hooks.logger.interval=10',
    'default_hooks.checkpoint.interval=20',
    f'val_dataloader.dataset.indices={SHORT_IMAGES}',
    f'test_dataloader.dataset.indices={SHORT_IMAGES}',
)

# Rough shares of the time, on which the estimate of the time left in all rests.
SHARES = {'CE train': 0.41, 'CE test': 0.06, 'RMI train': 0.47, 'RMI test': 0.06}


@dataclass
class Experiment:
    """The state of the comparison, kept in a file from one start to the next."""

    data: str
    config: str
    options: list[str]
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    finished: list[str] = field(default_factory=list)  # stages

    def save(self, folder: Path) -> None:
        """Write it to ``folder/experiment.json``."""
        partial = folder / 'experiment.json.partial'
        partial.write_text(json.dumps(asdict(self), indent=2))
        partial.replace(folder / 'experiment.json')  # which a full disk leaves as it was

    def go_on(self, folder: Path) -> None:
        """Take over how far the experiment in ``folder`` is.

        Raises:
            ValueError: The folder holds another experiment.
        """
        file = folder / 'experiment.json'
        if not file.exists():
            return
        earlier = Experiment(**json.loads(file.read_text()))
        for name in ('data', 'config', 'options'):
            ours, theirs = getattr(self, name), getattr(earlier, name)
            if ours != theirs:
                raise ValueError(
                    f'{folder} holds a demo whose {name} is {theirs!r}, not {ours!r}: '
                    'remove it or choose another folder with --work-dir'
                )
        self.seconds, self.finished = earlier.seconds, earlier.finished


class Monitor:
    """Shows how far each stage is: as bars on a terminal, as lines elsewhere."""

    def __init__(self, console: Console, finished: list[str]) -> None:
        self.lines = not console.is_terminal
        self.bars = bars.Progress(
            bars.TextColumn('{task.description:<9}'),
            bars.BarColumn(),
            bars.TextColumn('{task.fields[note]}'),
            console=console,
            disable=self.lines,
        )
        self.done = {stage: float(stage in finished) for stage in SHARES}
        self.tasks = {
            name: self.bars.add_task(name, total=1, completed=int(name in finished), note='')
            for name in (*SHARES, 'all')
        }
        self.start: tuple[float, float] | None = None  # time and progress at the first report

    def report(self, stage: str, done: float, note: str) -> None:
        """Show that the fraction ``done`` of a stage is over."""
        self.done[stage] = done
        overall = sum(SHARES[name] * part for name, part in self.done.items())
        left = self._time_left(overall)
        if self.lines:
            print(f'{stage}: {note}{left and f"  ({left})"}', flush=True)
        self.bars.update(self.tasks[stage], completed=done, note=note)
        self.bars.update(self.tasks['all'], completed=overall, note=left)

    def _time_left(self, overall: float) -> str:
        now = time.monotonic()
        since, before = self.start = self.start or (now, overall)
        if overall == before:
            return ''
        return (
            f'about {(now - since) * (1 - overall) / (overall - before) / 60:.1f} min left in all'
        )


def run(command: list[str], log_file: Path, stage: str, monitor: Monitor) -> None:
    """Run a tool and show how far it is.

    Raises:
        RuntimeError: The tool failed; holds the end of what it said.
    """

    def note(progress: Progress) -> None:
        said = '  '.join([f'{progress.done}/{progress.total}', *progress.fields])
        monitor.report(stage, progress.done / progress.total, said)

    follow_tool(command, log_file, note)


def train_and_test(experiment: Experiment, folder: Path, monitor: Monitor) -> None:
    """Run, for each loss, the stages that are not finished."""
    root = Path(experiment.data)
    options = ['--cfg-options', *experiment.options]
    options += [
        f'{split}_dataloader.dataset.data_root={root}' for split in ('train', 'val', 'test')
    ]
    for loss in LOSSES:
        work_dir = folder / loss.lower()
        work_dir.mkdir(parents=True, exist_ok=True)
        config = str(CONFIGS / experiment.config.format(loss.lower()))
        for tool in ('train', 'test'):
            stage = f'{loss} {tool}'
            if stage in experiment.finished:
                continue
            command = [sys.executable, str(TOOLS / f'{tool}.py'), config]
            if tool == 'train':
                command += ['--work-dir', str(work_dir), '--resume', *options]
            else:
                command += [(work_dir / 'last_checkpoint').read_text()]
                command += ['--work-dir', str(work_dir / 'test')]
                command += ['--out', str(work_dir / 'predictions'), *options]
            began = time.monotonic()
            try:
                run(command, work_dir / f'{tool}.log', stage, monitor)
                experiment.finished.append(stage)
            finally:
                spent = experiment.seconds.get(stage, 0) + time.monotonic() - began
                experiment.seconds[stage] = round(spent, 1)
                experiment.save(folder)
            monitor.report(stage, 1, f'{experiment.seconds[stage]:.0f} s')


def draw_scenes(folder: Path, short: bool) -> None:
    """Draw the street scenes, unless they are there."""
    if (folder / 'val.txt').exists():
        return
    print('drawing street scenes', flush=True)
    counts = ['--train', '24', '--val', str(SHORT_IMAGES)] if short else []
    tool = TOOLS / 'dataset_converters' / 'street_scenes.py'
    subprocess.run([sys.executable, str(tool), str(folder), *counts], check=True)


def check_copy(root: Path) -> None:
    """Refuse a folder that is no copy of CamVid before anything is trained.

    Raises:
        ValueError: Something is missing; names it.
    """
    for split in ('train', 'val'):
        if not (root / f'{split}.txt').is_file():
            raise ValueError(
                f'{root} has no {split}.txt: --data takes a copy of CamVid in the layout of '
                "SegNet's, with train, trainannot, train.txt and the same for val"
            )
        for file in (file for pair in report.list_pairs(root, split) for file in pair):
            if not file.is_file():
                raise ValueError(f'{root} lacks {file.relative_to(root)}, which {split}.txt lists')


def compare(experiment: Experiment, folder: Path, short: bool, console: Console) -> bool:
    """Print the table, write picture and scores; whether both losses beat the majority class."""
    root = Path(experiment.data)
    pairs = report.list_pairs(root, 'val', SHORT_IMAGES if short else None)
    commonest, baseline = report.score_majority(report.list_pairs(root, 'train'), pairs)
    scores = {f'all {commonest}': baseline}
    predictions = {loss: folder / loss.lower() / 'predictions' for loss in LOSSES}
    for loss in LOSSES:
        scores[loss] = report.score_predictions(pairs, predictions[loss])

    minutes = sum(experiment.seconds.values()) / 60
    console.print(f'{len(pairs)} validation images, {minutes:.1f} minutes of training and testing')
    console.print(report.make_table(scores))
    titles = {f'{loss}: mIoU {scores[loss].mean_iou:.1f}': predictions[loss] for loss in LOSSES}
    shown = [pairs[i * len(pairs) // SHOWN_IMAGES] for i in range(SHOWN_IMAGES)]
    report.draw_comparison(shown, titles, folder / 'comparison.png')
    results = {name: entry.as_dict() for name, entry in scores.items()}
    (folder / 'results.json').write_text(
        json.dumps({**asdict(experiment), 'images': len(pairs), 'scores': results}, indent=2)
    )
    console.print(f'picture: {folder / "comparison.png"}', soft_wrap=True)
    console.print(f'scores:  {folder / "results.json"}', soft_wrap=True)
    return all(scores[loss].mean_iou > baseline.mean_iou for loss in LOSSES)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Compare cross entropy and RMI on street scenes')
    parser.add_argument('--data', type=user_path, help="a copy of CamVid in SegNet's layout")
    parser.add_argument('--short', action='store_true', help='a minute, to see that it runs')
    parser.add_argument('--work-dir', type=user_path, default=Path('work_dirs/demo'))
    add_debug_argument(parser)
    return parser.parse_args()


def main() -> int:
    """Run the demo as the command line says."""
    args = parse_args()
    console = Console()
    name = ('street-scenes' if args.data is None else 'camvid') + ('-short' if args.short else '')
    folder = (args.work_dir / name).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    root = (args.data or folder / 'scenes').resolve()
    config = SCENES if args.data is None else CAMVID
    experiment = Experiment(str(root), config, list(SHORT_OPTIONS) if args.short else [])
    experiment.go_on(folder)
    if args.data is None:
        draw_scenes(root, args.short)
    check_copy(root)
    monitor = Monitor(console, experiment.finished)
    with monitor.bars:
        train_and_test(experiment, folder, monitor)
    return 0 if compare(experiment, folder, args.short, console) else 1


if __name__ == '__main__':
    run_tool(main, interrupted='Stopped: the same command goes on from the last checkpoint.')
