"""Make the paper's tables 1 to 4 of your own runs: ``python tools/analysis/make_tables.py RUNS``.

Reads what ``tools/test.py`` left at or below folders, or the results of ``tools/study``.
Network, loss and what was done at test time are taken from the config of each result. Runs equal in
these are averaged, with their 95 % interval. What was not run is ``-``. The paper's own figures
stand beside.

* VOC: tables 1 (methods), 2 (classes; the paper's are of the test set) and 3 (settings of RMI).
* CamVid: table 4. The paper prints a mean over 12 classes; with 11, compare that of its columns.
* Any other data set: the layout of table 4.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import track

from mmseg_rmi.functional import RMISettings

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from mmseg_rmi.utils.command_line import add_debug_argument, run_tool
from tools.analysis.estimates import Estimate
from tools.analysis.inference_time import seconds_per_image
from tools.analysis.results import TestResult, read_results
from tools.analysis.table_formats import FORMATS, Cell, Table, to_rich

PAPER = json.loads(Path(__file__).with_name('paper_tables.json').read_text())
PAPER_NETWORKS = ('DeepLabv3', 'DeepLabv3+')
PAPER_BACKBONE = 'ResNetV1c-101'
METHODS_OF_TABLE = {
    '1': ('CE*', 'CE', 'BCE', 'CE & CRF-1', 'CE & CRF-5', 'CE & CRF-10', 'Affinity', 'RMI'),
    '2': ('CE', 'CE & CRF-1', 'CE & CRF-5', 'RMI'),
    '4': ('CE', 'CE & CRF', 'Affinity', 'RMI'),
}
VOC, CAMVID = 'PascalVOCDataset', ('CamVidDataset', 'CamVid12Dataset')
UNLABELLED = 'unlabelled'  # CamVid's twelfth class
NONE = '-'

Measure = Callable[[TestResult], float | None]


# Selecting and averaging


class Runs:
    """The results on one data set."""

    def __init__(self, results: Iterable[TestResult]) -> None:
        self.results = list(results)

    def networks(self) -> list[tuple[str, str]]:
        """Networks and backbones that were run, after the paper's; those of the paper at least."""
        found = dict.fromkeys((result.network, result.backbone) for result in self.results)
        missing = [
            (network, PAPER_BACKBONE)
            for network in PAPER_NETWORKS
            if network not in {name for name, _ in found}
        ]
        return sorted([*found, *missing])

    def methods(self, network: tuple[str, str]) -> list[str]:
        """Methods that a network was trained with."""
        return sorted({result.method for result in self._of(network)})

    def classes(self) -> list[str]:
        """Names of the classes, in the order of the data set."""
        return list(dict.fromkeys(name for r in self.results for name in r.class_values()))

    def estimate(self, network: tuple[str, str], method: str, measure: Measure) -> Estimate | None:
        """Mean of a figure over the runs of a network and method; None if there is none."""
        chosen = [result for result in self._of(network) if result.method == method]
        values = [value for value in map(measure, chosen) if value is not None]
        return Estimate.of(values) if values else None

    def _of(self, network: tuple[str, str]) -> list[TestResult]:
        return [r for r in self.results if (r.network, r.backbone) == network]


def metric(name: str) -> Measure:
    """Read a figure by its name."""
    return lambda result: result.metrics.get(name)


def mean_of_eleven(result: TestResult) -> float | None:
    """CamVid's mIoU over the classes but Unlabelled."""
    if result.data == 'CamVidDataset':
        return result.metrics.get('mIoU')
    values = [iou for name, iou in result.class_values().items() if name != UNLABELLED]
    return fmean(values) if values else None


def rows_of(runs: Runs, network: tuple[str, str], listed: Sequence[str]) -> list[str]:
    """Methods of a table, and those that were run besides."""
    best = 'CE & CRF' if 'CE & CRF' in listed else None  # stands for any number of iterations
    extra = [method for method in runs.methods(network) if method not in listed]
    return [*listed, *(method for method in extra if method.rpartition('-')[0] != best)]


# Laying out


def cell(value: Estimate | float | None) -> Cell:
    """Show a figure, or that there is none."""
    return Cell(NONE if value is None else f'{value:.2f}')


def embolden_best(
    block: list[list[Cell]], values: list[list[Estimate | None]], columns: Sequence[int]
) -> list[list[Cell]]:
    """Set the best of each of the columns in bold, unless all are equal."""
    for index, column in enumerate(columns):
        means = [found.mean if (found := row[index]) else None for row in values]
        known = [round(mean, 2) for mean in means if mean is not None]
        for row, mean in zip(block, means, strict=True):
            if mean is not None and min(known) < round(mean, 2) == max(known):
                row[column] = Cell(row[column].text, bold=True)
    return block


def title_of(network: tuple[str, str]) -> str:
    """Name of a network; its backbone too, unless it is the paper's."""
    name, backbone = network
    return name if backbone == PAPER_BACKBONE else f'{name} {backbone}'


def paper_values(table: str, network: tuple[str, str], method: str) -> dict[str, Any]:
    """The paper's figures of a method."""
    return PAPER[f'table_{table}'].get(network[0], {}).get(method, {})


def methods_table(runs: Runs, seconds: Measure | None) -> Table:
    """Table 1: methods down, networks across."""
    networks = runs.networks()
    header = ['method']
    for network in networks:
        header += [f'{title_of(network)} mIoU', 'paper']
        if seconds:
            header += ['s / image', 'paper']
    listed = METHODS_OF_TABLE['1']
    extra = sorted({m for network in networks for m in runs.methods(network)} - set(listed))
    block, values = [], []
    for method in (*listed, *extra):
        row, means = [Cell(method)], []
        for network in networks:
            paper = paper_values('1', network, method)
            means.append(runs.estimate(network, method, metric('mIoU')))
            row += [cell(means[-1]), cell(paper.get('miou'))]
            if seconds:
                row += [cell(runs.estimate(network, method, seconds)), cell(paper.get('seconds'))]
        block.append(row)
        values.append(means)
    columns = range(1, len(header), 4 if seconds else 2)
    return Table(
        'Table 1: methods on VOC 2012 (validation images)',
        header,
        [embolden_best(block, values, columns)],
        'CE*: as the DeepLab papers report. Paper: ResNet-101, all 1,449 validation images.',
    )


def classes_table(runs: Runs, number: str, data: str) -> Table:
    """Tables 2 and 4, and those of other data sets: methods down, classes across."""
    classes = runs.classes() or PAPER.get(f'table_{number}', {}).get('classes', [])
    is_camvid = data in CAMVID
    measures: list[tuple[str, Measure]] = [(name, metric(f'IoU.{name}')) for name in classes]
    measures += [('mIoU', mean_of_eleven)] if is_camvid else []
    measures += [('mIoU of 12', metric('mIoU'))] if data == 'CamVid12Dataset' else []
    measures += [] if is_camvid else [('mIoU', metric('mIoU'))]
    paper_columns = {'2': ['paper'], '4': ['paper (mean of 11)', 'paper (as printed)']}
    header = ['network', 'method', *(name for name, _ in measures), *paper_columns.get(number, [])]
    blocks = []
    for network in runs.networks() if number else sorted({*runs.networks()} - _absent(runs)):
        block: list[list[Cell]] = []
        values: list[list[Estimate | None]] = []
        for method in rows_of(runs, network, METHODS_OF_TABLE.get(number, ())):
            ours = best_of_crf(runs, network) if method == 'CE & CRF' else method
            found = [runs.estimate(network, ours, measure) for _, measure in measures]
            paper = paper_values(number, network, method) if number else {}
            row = [Cell(title_of(network) if not block else ''), Cell(method), *map(cell, found)]
            if number == '4':
                row.append(cell(fmean(paper['iou']) if paper else None))
            if number:
                row.append(cell(paper.get('miou')))
            block.append(row)
            values.append(found)
        blocks.append(embolden_best(block, values, range(2, 2 + len(measures))))
    trained = '12 trained, ' if data == 'CamVid12Dataset' else ''
    titles = {
        '2': 'Table 2: classes of VOC 2012 (validation images; paper: test set)',
        '4': f'Table 4: classes of CamVid ({trained}paper: test set)',
    }
    note = 'CE & CRF: the best mIoU of 1, 5 and 10 iterations.' if number == '4' else ''
    return Table(titles.get(number, f'Classes of {data}'), header, blocks, note, labels=2)


def _absent(runs: Runs) -> set[tuple[str, str]]:
    return {network for network in runs.networks() if not runs.methods(network)}


def best_of_crf(runs: Runs, network: tuple[str, str]) -> str:
    """The number of iterations with the best mIoU, as the paper chose it."""
    tried = [f'CE & CRF-{iterations}' for iterations in (1, 5, 10)]
    means = {name: runs.estimate(network, name, metric('mIoU')) for name in tried}
    known = {name: estimate.mean for name, estimate in means.items() if estimate}
    return max(known, key=lambda name: known[name], default=tried[0])


def varies_regions_alone(result: TestResult) -> bool:
    """Tell whether RMI was trained with other settings than the default ones in table 3 alone."""
    if result.settings is None or ' & ' in result.method:
        return False
    default = RMISettings()
    others = ('loss_lambda', 'covariance', 'ridge', 'ignored', 'nonnegative')
    return all(getattr(result.settings, name) == getattr(default, name) for name in others)


def settings_table(runs: Runs) -> Table:
    """Table 3: downsampling, its factor and region size of RMI."""
    ablated = {
        RMISettings(
            downsample=row['downsample'],
            downsample_factor=row['factor'],
            region_size=row['region'],
        ): row['miou']
        for row in PAPER['table_3']['rows']
    }
    networks = [network for network in runs.networks() if runs.methods(network)] or [
        ('DeepLabv3', PAPER_BACKBONE)
    ]
    blocks = []
    for network in networks:
        by_settings: dict[RMISettings, list[TestResult]] = {s: [] for s in ablated}
        for result in runs.results:
            settings = result.settings
            if settings is None or (result.network, result.backbone) != network:
                continue
            if varies_regions_alone(result):
                by_settings.setdefault(settings, []).append(result)
        block: list[list[Cell]] = []
        values: list[list[Estimate | None]] = []
        for settings, results in by_settings.items():
            found = [value for value in map(metric('mIoU'), results) if value is not None]
            estimate = Estimate.of(found) if found else None
            paper = ablated.get(settings) if network[0] == 'DeepLabv3' else None
            names = (settings.downsample, settings.downsample_factor, settings.region_size)
            row = [Cell('' if block else title_of(network)), *(Cell(str(name)) for name in names)]
            block.append([*row, cell(estimate), cell(paper)])
            values.append([estimate])
        blocks.append(embolden_best(block, values, [4]))
    header = ['network', 'downsampling', 'DF', 'R', 'mIoU', 'paper']
    return Table('Table 3: settings of RMI on VOC 2012', header, blocks, labels=4)


def make_tables(
    results: Sequence[TestResult], wanted: Sequence[str], seconds: Measure | None = None
) -> dict[str, Table]:
    """Make the wanted tables; all that the results say something about by default."""
    by_data: dict[str, Runs] = {}
    for result in results:
        by_data.setdefault(result.data, Runs([])).results.append(result)
    voc = by_data.get(VOC, Runs([]))
    tables = {}
    if '1' in wanted or (not wanted and voc.results):
        tables['table1'] = methods_table(voc, seconds)
    if '2' in wanted or (not wanted and voc.results):
        tables['table2'] = classes_table(voc, '2', VOC)
    if '3' in wanted or (not wanted and any(r.settings for r in voc.results)):
        tables['table3'] = settings_table(voc)
    for data in CAMVID:
        if data in by_data and (not wanted or '4' in wanted):
            tables[f'table4-{data}'] = classes_table(by_data[data], '4', data)
    if '4' in wanted and not any(data in by_data for data in CAMVID):
        tables['table4'] = classes_table(Runs([]), '4', CAMVID[0])
    for data in sorted(set(by_data) - {VOC, *CAMVID}) if not wanted else ():
        tables[data] = classes_table(by_data[data], '', data)
    return tables


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'runs', nargs='+', type=Path, help='work dirs, folders that hold them, results.jsonl'
    )
    parser.add_argument(
        '--tables', nargs='+', choices=list('1234'), default=[], help='these, even if all is -'
    )
    parser.add_argument('--out', type=Path, help='write Markdown, LaTeX and CSV files here')
    parser.add_argument(
        '--time', type=int, metavar='N', help='measure the seconds of N images, for table 1'
    )
    add_debug_argument(parser)
    return parser.parse_args()


def main() -> None:
    """Print the tables, and write them."""
    args = parse_args()
    results = read_results(args.runs)
    seconds: Measure | None = None
    if args.time:
        measured = {
            (r.folder, r.method): seconds_per_image(r.config, args.time)
            for r in track(results, description='timing')
            if r.data == VOC
        }

        def seconds(result: TestResult) -> float:
            return measured[result.folder, result.method]

    tables = make_tables(results, args.tables, seconds)
    console = Console()
    for table in tables.values():
        console.print(*to_rich(table, console.width))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            for ending, render in FORMATS.items():
                (args.out / f'{name}.{ending}').write_text(render(table) + '\n')


if __name__ == '__main__':
    run_tool(main)
