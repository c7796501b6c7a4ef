"""What the study runs: its plan as cells, which of them have results, and the rates they train at.

A cell is one training and the test after it: a method (a loss, with options) on a data set from a
seed. Cells that tune vary the learning rate; the others take the rate that tuning found for their
method. Results are lines of JSON, one for each finished cell.
"""

import functools
import hashlib
import json
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]

# What a trained network depends on, less what says where files lie and how they are read, and when
# it is validated.
TRAINING = (
    'model',
    'train_dataloader',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'randomness',
    'custom_hooks',
)
ELSEWHERE = (
    'data_root',
    'checkpoint',
    'num_workers',
    'persistent_workers',
    'val_interval',
    'val_begin',
)

Result = dict[str, Any]
Options = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """A row of the study.

    Args:
        loss: names the config.
        options: settings on top of the config.
        test_options: settings of the test alone.
        tuned_as: the method whose learning rate it takes, in the place of tuning its own.
        run_of: the method whose trained networks it tests in another way, and trains none.
    """

    loss: str = ''
    options: Options = field(default_factory=dict)
    test_options: Options = field(default_factory=dict)
    tuned_as: str | None = None
    run_of: str | None = None


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
        """``camvid/ce/seed0``, ``camvid/ce/lr-x0.5``, ``drive/ce/lr-x1-seed101``, ...."""
        last = f'lr-x{self.factor:g}' if self.tunes else f'seed{self.seed}'
        last += f'-seed{self.seed}' if self.draw else ''
        last += f'-repeat{self.repeat}' if self.repeat else ''
        return f'{self.data}/{self.method}/{last}'


@dataclass(frozen=True)
class Plan:
    """All cells in the order of their worth, and what they are made of.

    Args:
        config: path of the configs, with ``{loss}`` and ``{setting}`` open.
        data: for each data set its ``setting`` in the name of the config and its ``folder``; if
            need be ``options`` on top of the config, and a ``config``, ``iterations`` and parts of
            ``tuning`` of its own; or another one, on which its rates were ``tuned_on``. Of a number
            of ``folds`` the first is held out by the cells that tune, the others in turn by seeds
            that are reported: the options ``set_to_fold`` name it.
        iterations: of a reported training.
        methods: by name.
        cells: what is run, in order.
        tuning: ``factors`` of the learning rate, and the tuning cells' ``iterations`` and
            ``seeds``; empty if the rates of the configs are taken as they are.
    """

    config: str
    data: dict[str, dict[str, Any]]
    iterations: int
    methods: dict[str, Method]
    cells: tuple[Cell, ...]
    tuning: dict[str, Any] = field(default_factory=dict)

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

    def trained(self, cell: Cell) -> Cell:
        """The cell whose training ``cell`` tests: itself, unless its method trains nothing."""
        return replace(cell, method=self.methods[cell.method].run_of or cell.method)

    def tuning_on(self, data: str) -> dict[str, Any]:
        """What tunes on a data set: ``seeds``, ``factors`` and ``iterations``."""
        return {**self.tuning, **self.data[data].get('tuning', {})}

    def tuning_of(self, cell: Cell) -> list[Cell]:
        """The cells that find the learning rate of a reported one."""
        method = self.trained(cell).method
        method = self.methods[method].tuned_as or method
        data = self.data[cell.data].get('tuned_on', cell.data)
        return self.tuning_cells(data, method, self.tuning_on(data).get('factors', []))

    def tuning_cells(self, data: str, method: str, factors: Iterable[float]) -> list[Cell]:
        """The cells that try a method at these factors, factor by factor."""
        seeds = self.tuning_on(data).get('seeds', [])
        return [
            Cell(data, method, seed, factor, draw=draw)
            for factor in factors
            for draw, seed in enumerate(seeds)
        ]

    def iterations_of(self, cell: Cell) -> int:
        """How long a cell trains."""
        if cell.tunes:
            return self.tuning_on(cell.data)['iterations']
        return self.data[cell.data].get('iterations', self.iterations)

    def config_file(self, cell: Cell) -> Path:
        """The config of a cell."""
        setting = self.data[cell.data]['setting']
        method = self.methods[self.trained(cell).method]
        config = self.data[cell.data].get('config', self.config)
        return ROOT / config.format(loss=method.loss, setting=setting)

    def fold(self, cell: Cell) -> int:
        """The fold that a cell holds out, on a data set of folds."""
        return 0 if cell.tunes else 1 + cell.seed % (self.data[cell.data]['folds'] - 1)

    def pretrained(self, cell: Cell) -> bool:
        """Whether a cell's backbone starts from weights in a file."""
        backbone = _read_config(self.config_file(cell)).model.backbone
        return 'checkpoint' in (backbone.get('init_cfg') or {})

    def options(self, cell: Cell, factor: float) -> Options:
        """The settings of a cell's training on top of its config."""
        iterations, settings = self.iterations_of(cell), self.data[cell.data]
        config = _read_config(self.config_file(cell))
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
    plan = Plan(**content, methods=methods, cells=())
    for name, settings in plan.data.items():
        if (tuned_on := settings.get('tuned_on', name)) not in plan.data:
            raise ValueError(
                f'{file}: {name} is tuned_on {tuned_on}, which is not defined; there are the data '
                f'{", ".join(plan.data)}'
            )
    for line in lines:
        unknown = [name for name in line.get('tune', line.get('run', ())) if name not in methods]
        if unknown or line['data'] not in plan.data:
            raise ValueError(
                f'{file}: {line} names {", ".join(unknown) or line["data"]}, which is not defined; '
                f'there are the methods {", ".join(methods)} and the data {", ".join(plan.data)}'
            )
    cells = [cell for line in lines for cell in _expand(line, plan)]
    return replace(plan, cells=tuple(dict.fromkeys(cells)))


def _expand(line: Mapping[str, Any], plan: Plan) -> list[Cell]:
    """All cells of a line: rate by rate, or seed by seed, so that methods stay level.

    A line may tune at some ``factors`` alone: variants at the rate of what they vary.
    """
    if 'tune' in line:
        factors = line.get('factors', plan.tuning_on(line['data'])['factors'])
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


@functools.cache
def _read_config(file: Path) -> Config:
    return Config.fromfile(file, import_custom_modules=False)  # which takes seconds


def fingerprint(config: Path, options: Options) -> str:
    """Hash of all that a trained network depends on: 12 hexadecimal digits.

    Two cells with the same one train the same network, wherever the data lies.
    """
    return _fingerprint(config, json.dumps(options))


@functools.cache
def _fingerprint(config: Path, options: str) -> str:
    merged = Config(_read_config(config).to_dict())
    merged.merge_from_dict(json.loads(options))
    content = {key: _without_places(merged.get(key)) for key in TRAINING}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _without_places(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _without_places(value) for key, value in node.items() if key not in ELSEWHERE}
    if isinstance(node, Sequence) and not isinstance(node, str):
        return [_without_places(value) for value in node]
    return node


class Results:
    """The file of results: read once, and appended to.

    A line counts for the plan as long as the cell would train the same network today.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        lines = file.read_text().splitlines() if file.exists() else []
        self.entries: list[Result] = [json.loads(line) for line in lines if line.strip()]

    def append(self, entry: Result) -> None:
        """Add a line, which is on the disk afterwards."""
        self.entries.append(entry)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open('a') as stream:
            stream.write(json.dumps(entry) + '\n')
            stream.flush()
            os.fsync(stream.fileno())

    def named(self, name: str) -> list[Result]:
        """All lines about a cell."""
        return [entry for entry in self.entries if entry['cell'] == name]

    def find(self, plan: Plan, cell: Cell) -> Result | None:
        """The result of a cell, if it has one of its present settings."""
        factor = self.factor(plan, cell)
        if factor is None:
            return None
        current = fingerprint(plan.config_file(cell), plan.options(cell, factor))
        fitting = [entry for entry in self.named(cell.name) if entry['config_hash'] == current]
        return fitting[-1] if fitting else None

    def factor(self, plan: Plan, cell: Cell) -> float | None:
        """The factor of the learning rate that a cell trains at, None before it is known.

        It is the one of the best mIoU, in the mean of the seeds that tune; of equals, the nearest
        to 1. A plan without tuning takes the rates of the configs.
        """
        if cell.tunes or not plan.tuning:
            return cell.factor or 1.0
        scores: dict[float, list[float]] = {}
        for tuner in plan.tuning_of(cell):
            result = self.find(plan, tuner)
            if result is None:
                return None
            assert tuner.factor is not None
            # A diverged run has none.
            score = result['metrics'].get('mIoU', -math.inf)
            scores.setdefault(tuner.factor, []).append(score)
        return max(scores, key=lambda f: (statistics.mean(scores[f]), -abs(math.log(f))))
