"""Metrics of tests and the configs they belong to.

They come from what ``tools/test.py`` left in folders of runs, or from the lines of a study.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmseg_rmi.functional import RMISettings
from mmseg_rmi.functional.scales import as_factors

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = {
    'ASPPHead': 'DeepLabv3',
    'DeepLabV3Head': 'DeepLabv3',
    'DeepLabV3PlusHead': 'DeepLabv3+',
    'DepthwiseSeparableASPPHead': 'DeepLabv3+',
}
BACKBONES = {  # by timm's names
    'tf_efficientnet_lite0': 'EfficientNet-lite0',
    'tf_efficientnet_lite2': 'EfficientNet-lite2',
}
LOSSES = {
    'AffinityFieldLoss': 'Affinity',
    'SigmoidCrossEntropyLoss': 'BCE',
    'RMILoss': 'RMI',
}


@dataclass(frozen=True)
class TestResult:
    """One test of one model.

    Attributes:
        folder: the work dir of the test, or the cell of the study.
        data: type of the data set, such as ``'CamVidDataset'``.
        network: ``'DeepLabv3'``, ``'DeepLabv3+'`` or the head's name without ``'Head'``.
        backbone: such as ``'ResNetV1c-101'``; with the length of training, if networks of this
            name were trained for different ones.
        method: the loss and what was done at test time, such as ``'CE & CRF-5'``.
        settings: of the region mutual information, if trained with it at one scale.
        metrics: by name, as MMEngine wrote them.
        config: everything else.
    """

    __test__ = False  # a record; pytest takes the name for a test

    folder: Path
    data: str
    network: str
    backbone: str
    method: str
    settings: RMISettings | None
    metrics: dict[str, float]
    config: Config

    def class_values(self) -> dict[str, float]:
        """IoU of each class in percent, if the metric told them."""
        return {
            name.removeprefix('IoU.'): value
            for name, value in self.metrics.items()
            if name.startswith('IoU.')
        }


def read_results(places: Iterable[Path]) -> list[TestResult]:
    """Read the last test of each work dir at or below folders, and of each cell of studies.

    Raises:
        ValueError: there is none; a place is neither a folder nor the results of a study; or a
            test has no config beside it.
    """
    places = list(places)
    latest: dict[tuple[Path, str], TestResult] = {}
    for place in places:
        for result in read_study(place) if place.suffix == '.jsonl' else read_folder(place):
            latest[result.folder, result.method] = result  # a later one replaces it
    if not latest:
        raise ValueError(
            f'no test in {", ".join(map(str, places))}: make one with '
            'python tools/test.py CONFIG CHECKPOINT --work-dir DIR'
        )
    return _tell_schedules_apart(list(latest.values()))


def _tell_schedules_apart(results: list[TestResult]) -> list[TestResult]:
    """Name the length of training with the backbone where it is not the same for all."""

    def key(result: TestResult) -> tuple[str, str, str]:
        return result.data, result.network, result.backbone

    schedules = defaultdict(set)
    for result in results:
        schedules[key(result)].add(name_schedule(result.config))
    return [
        replace(result, backbone=f'{result.backbone}, {name_schedule(result.config)}')
        if len(schedules[key(result)]) > 1
        else result
        for result in results
    ]


def name_schedule(config: Config) -> str:
    """Tell the length of training."""
    loop = config.get('train_cfg') or {}
    if 'max_iters' in loop:
        return f'{loop["max_iters"]:,} iterations'
    return f'{loop["max_epochs"]:,} epochs' if 'max_epochs' in loop else 'unknown schedule'


def read_folder(folder: Path) -> Iterator[TestResult]:
    """Read the tests at or below a folder, in the order of their times.

    Raises:
        ValueError: it is not a folder; or a test has no config beside it.
    """
    if not folder.is_dir():
        raise ValueError(
            f'{folder} is not a folder: give work dirs of tools/test.py, or results of tools/study'
        )
    for report in sorted(_reports(folder)):
        yield make_result(report.parent.parent, read_config(report), read_metrics(report))


def read_metrics(report: Path) -> dict[str, Any]:
    """Read the file that a test leaves in its folder.

    Raises:
        ValueError: it is cut off, or otherwise no JSON.
    """
    try:
        return json.loads(report.read_text())
    except ValueError as error:
        raise ValueError(f'{report} is not whole ({error}): test again, or delete it') from error


def read_study(file: Path) -> Iterator[TestResult]:
    """Read the reported runs of ``tools/study``, in the order in which they were finished.

    Raises:
        ValueError: there is no such file, or no line in it.
    """
    from tools.study.results import read_entries  # which the wheel does not carry

    for entry in read_entries(file):
        if entry['stage'] == 'report' and not entry['repeat']:
            config = Config.fromfile(ROOT / entry['config'], import_custom_modules=False)
            config.merge_from_dict(entry['options'])
            yield make_result(Path(entry['cell']), config, entry['metrics'])


def _reports(folder: Path) -> Iterator[Path]:
    """Files ``<time>/<time>.json``, which MMEngine writes at the end of a test."""
    return (file for file in folder.rglob('*.json') if file.stem == file.parent.name)


def read_config(report: Path) -> Config:
    """Read the config that a test's report belongs to."""
    work_dir = report.parent.parent
    named = [*work_dir.glob('test_*.py'), *work_dir.glob('*.py')]
    candidates = [report.parent / 'vis_data' / 'config.py', *named]
    for file in candidates:
        if file.is_file():
            return Config.fromfile(file, import_custom_modules=False)
    raise ValueError(f'{report} has no config beside it ({candidates[0]})')


def make_result(folder: Path, config: Config, metrics: dict[str, Any]) -> TestResult:
    """Name what was trained and tested by its config."""
    named = ConfigDict(without_scopes(config.to_dict()))
    head = final_head(named)
    loss = loss_of(head)
    is_rmi = isinstance(loss, dict) and loss['type'] == 'RMILoss' and len(factors_of(loss)) == 1
    return TestResult(
        folder=folder,
        data=named.test_dataloader.dataset.type,
        network=name_network(head),
        backbone=name_backbone(segmentor(named).backbone),
        method=name_method(named),
        settings=rmi_settings(loss) if is_rmi else None,
        metrics={name: value for name, value in metrics.items() if isinstance(value, (int, float))},
        config=config,
    )


def without_scopes(node: Any) -> Any:
    """Return a config whose types are bare names, as that of the class in ``'mmseg.RMILoss'``.

    >>> without_scopes(dict(loss=[dict(type='mmseg_rmi.losses.RMILoss')]))
    {'loss': [{'type': 'RMILoss'}]}
    """
    if isinstance(node, (list, tuple)):
        return [without_scopes(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: value.rpartition('.')[2]
        if key == 'type' and isinstance(value, str)
        else without_scopes(value)
        for key, value in node.items()
    }


def segmentor(config: ConfigDict) -> Any:
    """The model without what wraps it at test time."""
    return config.model.get('module', config.model)


def final_head(config: ConfigDict) -> Any:
    """The decode head, the last of a cascade."""
    head = segmentor(config).decode_head
    return head[-1] if isinstance(head, list) else head


def name_network(head: Any) -> str:
    """Name a decode head as the paper does, or after its type."""
    kind = head.type.removeprefix('RMI')
    if kind == 'DepthwiseSeparableASPPHead' and head.get('c1_in_channels') == 0:
        return 'DeepLabv3'  # without the decoder
    return NETWORKS.get(kind, kind.removesuffix('Head'))


def name_backbone(backbone: Any) -> str:
    """Name a backbone with its depth or architecture."""
    detail = backbone.get('depth') or backbone.get('model_name') or backbone.get('arch')
    if 'model_name' in backbone:
        return BACKBONES.get(detail, detail)
    return f'{backbone.type}-{detail}' if isinstance(detail, (int, str)) else backbone.type


def loss_of(head: Any) -> Any:
    """The loss of a head: its config, or a list of them."""
    default = 'RMILoss' if head.type.startswith('RMI') else 'CrossEntropyLoss'
    return head.get('loss_decode') or dict(type=default)


def name_method(config: ConfigDict) -> str:
    """Name the loss, and what was done at test time, as the paper's tables do."""
    losses = loss_of(final_head(config))
    name = ' + '.join(map(name_loss, losses if isinstance(losses, (list, tuple)) else [losses]))
    loop = config.get('test_cfg') or {}
    if loop.get('type') == 'DenseCRFTestLoop':
        name += f' & CRF-{loop.get("iterations", 10)}'
    return f'{name}, augmented' if 'module' in config.model else name


def name_loss(loss: Any) -> str:
    """Name a loss, with the settings that differ from the default ones if it is RMI."""
    kind = loss['type']
    if kind == 'CrossEntropyLoss':
        return 'BCE (mmseg)' if loss.get('use_sigmoid') else 'CE'
    name = LOSSES.get(kind, kind.removesuffix('Loss'))
    if kind == 'AffinityFieldLoss' and loss.get('adaptive'):
        return f'{name}, adaptive'
    if kind == 'RMILoss':
        default, ours = RMISettings(), rmi_settings(loss)
        alone = ours.loss_lambda == 0  # the region term, without BCE
        silent = {'nonnegative', *(['loss_lambda'] if alone else [])}
        values = vars(ours) | dict(downsample_factor=' and '.join(map(str, factors_of(loss))))
        changed = [
            f'{field} {values[field]}'
            for field, value in vars(default).items()
            if str(values[field]) != str(value) and field not in silent
        ]
        name = 'region term' if alone else name
        return f'{name} ({", ".join(changed)})' if changed else name
    return name


def rmi_settings(loss: Any) -> RMISettings:
    """The settings of an ``RMILoss``, of several scales those of the first."""
    known = {name: value for name, value in loss.items() if name in vars(RMISettings())}
    return RMISettings(**known | dict(downsample_factor=factors_of(loss)[0]))


def factors_of(loss: Any) -> tuple[int, ...]:
    """The downsampling factors of an ``RMILoss``."""
    return as_factors(loss.get('downsample_factor', RMISettings().downsample_factor))
