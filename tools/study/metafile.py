"""The networks of the study as MMSegmentation's metafiles and ``model-index`` want them.

One model per data set, network, loss, length of training and platform, with the means over the
reported seeds. Repeats and tests of another network's checkpoint are left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from tools.study.platforms import Platform

COLLECTION = 'RMI study'
PAPER = {
    'Title': 'Region Mutual Information Loss for Semantic Segmentation',
    'URL': 'https://arxiv.org/abs/1910.12037',
}
METRICS = {'mIoU': 'mIoU', 'boundary/mIoU': 'Boundary mIoU', 'trimap/mIoU.3': 'mIoU within 3 px'}
DATA = {
    'camvid': 'CamVid',
    'crackforest': 'CrackForest',
    'drive': 'DRIVE',
    'isbi2012': 'ISBI 2012',
    'voc12subset': 'Pascal VOC 2012 (subset)',
}
# backbone and its batch size, loss and iterations, data set and size
NAME = re.compile(
    r'(?P<network>.+)_1xb(?P<batch>\d+)-(?P<loss>.+)-\d+_(?P<data>[^-]+)-(?P<size>\d+x\d+)'
)


def make_metafile(results: Iterable[Mapping[str, Any]], folder: str) -> dict[str, Any]:
    """Return collection and models of reported results.

    Args:
        results: entries as ``tools/study`` writes them.
        folder: that has a file of them for each data set, from the root of the project.
    """
    cells = defaultdict(list)
    for entry in results:
        if entry['stage'] == 'report' and not entry['run_of'] and not entry['repeat']:
            platform = str(Platform.of(entry))
            key = entry['config'], entry['method'], entry['iterations'], entry['data'], platform
            cells[key].append(entry)
    models = [make_model(*cell, entries, folder) for cell, entries in sorted(cells.items())]
    data = sorted({model['Metadata']['Training Data'] for model in models})
    return {
        'Collections': [
            {
                'Name': COLLECTION,
                'License': 'Apache License 2.0',
                'Metadata': {'Training Data': data},
                'Paper': PAPER,
                'README': 'README.md',
                'Frameworks': ['PyTorch'],
            }
        ],
        'Models': models,
    }


def make_model(
    config: str,
    method: str,
    iterations: int,
    data: str,
    platform: str,
    entries: list[Mapping[str, Any]],
    folder: str,
) -> dict[str, Any]:
    """Return the entry of one network, trained with one loss on several seeds.

    Raises:
        ValueError: the name of the config does not tell network, batch, data set and size.
    """
    parts = NAME.fullmatch(Path(config).stem)
    if parts is None:
        raise ValueError(f'{config} is not named NETWORK_1xbBATCH-LOSS-ITERATIONS_DATA-SIZE.py')
    title = DATA.get(parts['data'], parts['data'])
    name = f'{parts["network"]}_1xb{parts["batch"]}-{method}-{iterations}'
    return {
        'Name': f'{name}_{data}-{parts["size"]} {platform}'.strip(),
        'In Collection': COLLECTION,
        'Results': {
            'Task': 'Semantic Segmentation',
            'Dataset': title,
            'Metrics': _average_metrics(entries),
        },
        'Config': config,
        'Metadata': {
            'Training Data': title,
            'Batch Size': int(parts['batch']),
            'Architecture': parts['network'].split('_'),
            'Training Resources': '; '.join(sorted({entry['machine'] for entry in entries})),
            **_peak_memory(entries),
            'Iterations': iterations,
        },
        'Training log': f'{folder}/{data}.jsonl',
        'Code': 'mmseg_rmi/losses',
        'Framework': 'PyTorch',
        'Paper': PAPER,
    }


def _average_metrics(entries: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Average over the seeds that did not diverge, and count both."""
    measured = [entry['metrics'] for entry in entries if entry['metrics']]
    means = {
        name: round(fmean(metrics[key] for metrics in measured), 2)
        for key, name in METRICS.items()
        if measured and all(key in metrics for metrics in measured)
    }
    diverged = len(entries) - len(measured)
    return {**means, 'Seeds': len(entries), **({'Diverged': diverged} if diverged else {})}


def _peak_memory(entries: list[Mapping[str, Any]]) -> dict[str, float]:
    """Find the most memory of any seed, which those that diverged do not have."""
    found = [entry['peak_memory_mb'] for entry in entries if 'peak_memory_mb' in entry]
    return {'Memory (GB)': round(max(found) / 1024, 2)} if found else {}


def write_metafile(entries: Iterable[Mapping[str, Any]], folder: str, file: Path) -> None:
    """Write the models of reported results into a file."""
    dumper = yaml.SafeDumper
    dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]
    content = make_metafile(entries, folder)
    file.write_text(yaml.dump(content, Dumper=dumper, sort_keys=False, width=200))
