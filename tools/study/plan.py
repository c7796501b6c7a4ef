"""The plan of the study as cells, in the order of their worth.

A cell is one training and the test after it: a method (a loss, with options) on a data set from a
seed. Cells that tune vary the learning rate; the others take the rate that tuning found for their
method. Results are lines of JSON, one for each finished cell.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from tools.study.fingerprint import Options, read_config
from tools.tool_process import ROOT

SHOWN = ('headline', 'overview', 'front_columns')  # lists of names


@dataclass(frozen=True)
class Method:
    """A row of the study.

    Args:
        loss: names the config.
        label: names the method in tables; its own name if empty.
        options: settings on top of the config.
        test_options: settings of the test alone.
        tuned_as: the method whose learning rate it takes, in the place of tuning its own.
        run_of: the method whose trained networks it tests in another way, and trains none.
        variant_of: the method that it is one thing changed of, with which tables compare it.
    """

    loss: str = ''
    label: str = ''
    options: Options = field(default_factory=dict)
    test_options: Options = field(default_factory=dict)
    tuned_as: str | None = None
    run_of: str | None = None
    variant_of: str | None = None


@dataclass(frozen=True)
class Cell:
    """One training and its test.

    Args:
        data: name of the data set.
        method: name of the method.
        seed: seed of weights, order and augmentation of the images.
        factor: of the learning rate, in a cell that tunes; None in one that is reported.
        repeat: 0, or the number of the repetition with the same seed.
        draw: which of the seeds that tune it has; the first is not in its name.
    """

    data: str
    method: str
    seed: int
    factor: float | None = None
    repeat: int = 0
    draw: int = 0

    @property
    def tunes(self) -> bool:
        return self.factor is not None

    @property
    def name(self) -> str:
        """Name it: ``camvid/ce/seed0``, ``camvid/ce/lr-x0.5``, ``drive/ce/lr-x1-seed101``, ...."""
        last = f'lr-x{self.factor:g}' if self.tunes else f'seed{self.seed}'
        last += f'-seed{self.seed}' if self.draw else ''
        last += f'-repeat{self.repeat}' if self.repeat else ''
        return f'{self.data}/{self.method}/{last}'


@dataclass(frozen=True, eq=False)
class Plan:
    """All cells in the order of their worth, and what they are made of.

    Args:
        config: path of the configs, with ``{loss}`` and ``{setting}`` open.
        data: for each data set its ``title`` in tables, its ``setting`` in the name of the config
            and its ``folder``; if need be ``options`` on top of the config, and a ``config``,
            ``iterations`` and parts of ``tuning`` of its own; or another one, on which its rates
            were ``tuned_on``. Of a number of ``folds`` the first is held out by the cells that
            tune, the others in turn by seeds that are reported: the options ``set_to_fold`` name
            it.
        iterations: of a reported training.
        methods: by name.
        cells: what is run, in order.
        tuning: ``factors`` of the learning rate, and the tuning cells' ``iterations`` and
            ``seeds``; without factors the rates of the configs are taken as they are.
        headline: methods whose gains on each class are shown.
        overview: methods in the table of the overview; all if none is named.
        front: for each data set of the front page, the methods whose gains it shows.
        front_columns: names what those methods have in common.
    """

    config: str
    data: dict[str, dict[str, Any]]
    iterations: int
    methods: dict[str, Method]
    cells: tuple[Cell, ...]
    tuning: dict[str, Any] = field(default_factory=dict)
    headline: tuple[str, ...] = ()
    overview: tuple[str, ...] = ()
    front: dict[str, tuple[str, ...]] = field(default_factory=dict)
    front_columns: tuple[str, ...] = ()

    @property
    def rmi(self) -> list[str]:
        """List the methods whose loss has a region term."""
        losses = {n: self.methods[m.run_of or n].loss for n, m in self.methods.items()}
        return [name for name, loss in losses.items() if 'rmi' in loss.split('-')]

    def cell(self, name: str) -> Cell:
        """Find a cell by its name.

        Raises:
            ValueError: there is none; names those with the same data set and method.
        """
        for cell in self.cells:
            if cell.name == name:
                return cell
        near = [cell.name for cell in self.cells if cell.name.startswith(name.rsplit('/', 1)[0])]
        known = near or [cell.name for cell in self.cells]
        raise ValueError(f'the plan has no cell {name!r}; it has {", ".join(known)}')

    def match(self, pattern: str) -> list[Cell]:
        """Find the cells whose names fit a pattern, such as ``drive/*/seed0``, in order.

        Raises:
            ValueError: there is none.
        """
        if not any(sign in pattern for sign in '*?['):
            return [self.cell(pattern)]
        found = [cell for cell in self.cells if fnmatchcase(cell.name, pattern)]
        if not found:
            raise ValueError(f'the plan has no cell that fits {pattern!r}; see list')
        return found

    def trained(self, cell: Cell) -> Cell:
        """Name the cell whose training ``cell`` tests: itself, unless its method trains nothing."""
        run_of = self.methods[cell.method].run_of
        return replace(cell, method=run_of) if run_of else cell

    def tuning_on(self, data: str) -> dict[str, Any]:
        """Collect what tunes on a data set: ``seeds``, ``factors`` and ``iterations``."""
        return {**self.tuning, **self.data[data].get('tuning', {})}

    def tuning_of(self, cell: Cell) -> list[Cell]:
        """List the cells that find the learning rate of a reported one."""
        method = self.trained(cell).method
        method = self.methods[method].tuned_as or method
        data = self.data[cell.data].get('tuned_on', cell.data)
        return self.tuning_cells(data, method, self.factors(data))

    def tuning_cells(self, data: str, method: str, factors: Iterable[float]) -> list[Cell]:
        """List the cells that try a method at these factors, factor by factor."""
        seeds = self.tuning_on(data).get('seeds', [])
        return [
            Cell(data, method, seed, factor, draw=draw)
            for factor in factors
            for draw, seed in enumerate(seeds)
        ]

    def iterations_of(self, cell: Cell) -> int:
        """Count the iterations of a cell's training."""
        if cell.tunes:
            return self.tuning_on(cell.data)['iterations']
        return self.data[cell.data].get('iterations', self.iterations)

    def config_file(self, cell: Cell) -> Path:
        """Name the config of a cell."""
        setting = self.data[cell.data]['setting']
        method = self.methods[self.trained(cell).method]
        config = self.data[cell.data].get('config', self.config)
        return ROOT / config.format(loss=method.loss, setting=setting)

    def fold(self, cell: Cell) -> int:
        """Choose the fold that a cell holds out, on a data set of folds."""
        if cell.tunes:
            return 0
        kept = 1 if self.factors(cell.data) else 0  # for the cells that tune
        return kept + cell.seed % (self.data[cell.data]['folds'] - kept)

    def factors(self, data: str) -> list[float]:
        """List the factors of the learning rate that are tried on a data set, if any."""
        factors: list[float] = self.tuning_on(data).get('factors', [])
        return factors

    def pretrained(self, cell: Cell) -> str | None:
        """Name the file of weights that a cell's backbone starts from, if any."""
        backbone = read_config(self.config_file(cell)).model.backbone
        checkpoint = (backbone.get('init_cfg') or {}).get('checkpoint')
        return Path(checkpoint).name if checkpoint else None

    def options(self, cell: Cell, factor: float) -> Options:
        """Collect the settings of a cell's training on top of its config."""
        iterations, settings = self.iterations_of(cell), self.data[cell.data]
        config = read_config(self.config_file(cell))
        return {
            'randomness.seed': cell.seed,
            'optim_wrapper.optimizer.lr': config.optim_wrapper.optimizer.lr * factor,
            'train_cfg.max_iters': iterations,
            'train_cfg.val_begin': iterations + 1,  # never: the test follows
            f'param_scheduler.{len(config.param_scheduler) - 1}.end': iterations,
            **settings.get('options', {}),
            **{name: self.fold(cell) for name in settings.get('set_to_fold', ())},
            **self.methods[self.trained(cell).method].options,
        }


def read_plan(file: Path) -> Plan:
    """Read a plan from YAML.

    Raises:
        ValueError: a line of the plan names a method or a data set that it does not define, or a
            data set is tuned on one.
    """
    content = yaml.safe_load(file.read_text())
    lines = content.pop('cells')
    methods = {name: Method(**settings) for name, settings in content.pop('methods').items()}
    content |= {name: tuple(content.get(name, ())) for name in SHOWN}
    front = {data: tuple(shown) for data, shown in content.pop('front', {}).items()}
    plan = Plan(**content, methods=methods, front=front, cells=())
    for name, settings in plan.data.items():
        if (tuned_on := settings.get('tuned_on', name)) not in plan.data:
            raise ValueError(
                f'{file}: {name} is tuned_on {tuned_on}, which is not defined; there are the data '
                f'{", ".join(plan.data)}'
            )
    named = dict.fromkeys([*plan.headline, *plan.overview])
    if unknown := [name for name in named if name not in methods]:
        raise ValueError(
            f'{file}: headline or overview names {", ".join(unknown)}, which is not defined; there '
            f'are the methods {", ".join(methods)}'
        )
    in_front = [{'data': data, 'front': methods} for data, methods in front.items()]
    for line in [*lines, *in_front]:
        used = line.get('tune', line.get('run', line.get('front', ())))
        unknown = [name for name in used if name not in methods]
        if unknown or line['data'] not in plan.data:
            raise ValueError(
                f'{file}: {line} names {", ".join(unknown) or line["data"]}, which is not defined; '
                f'there are the methods {", ".join(methods)} and the data {", ".join(plan.data)}'
            )
    cells = [cell for line in lines for cell in _expand(line, plan)]
    return replace(plan, cells=tuple(dict.fromkeys(cells)))


def _expand(line: Mapping[str, Any], plan: Plan) -> list[Cell]:
    """List all cells of a line: rate by rate, or seed by seed, so that methods stay level.

    A line may tune at some ``factors`` alone: variants at the rate of what they vary.
    """
    if 'tune' in line:
        factors = line.get('factors', plan.factors(line['data']))
        return [
            cell
            for factor in factors
            for method in line['tune']
            for cell in plan.tuning_cells(line['data'], method, [factor])
        ]
    return [
        Cell(line['data'], method, seed, repeat=line.get('repeat', 0))
        for seed in line['seeds']
        for method in line['run']
    ]
