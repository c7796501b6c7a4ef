"""The networks of the study as MMSegmentation's metafiles and ``model-index`` want them.

One model per network, loss, length of training and platform, with the means over the reported
seeds. Repeats and tests of another network's checkpoint are left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

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
            platform = ' '.join(str(entry[key]) for key in ('device', 'precision') if key in entry)
            cells[entry['config'], entry['method'], entry['iterations'], platform].append(entry)
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
    platform: str,
    entries: list[Mapping[str, Any]],
    folder: str,
) -> dict[str, Any]:
    """Return the entry of one network, trained with one loss on several seeds."""
    parts = NAME.fullmatch(Path(config).stem)
    if parts is None:
        raise ValueError(f'{config} is not named NETWORK_1xbBATCH-LOSS-ITERATIONS_DATA-SIZE.py')
    data = DATA.get(parts['data'], parts['data'])
    metrics = {
        name: round(fmean(entry['metrics'][key] for entry in entries), 2)
        for key, name in METRICS.items()
        if all(key in entry['metrics'] for entry in entries)
    }
    name = f'{parts["network"]}_1xb{parts["batch"]}-{method}-{iterations}'
    return {
        'Name': f'{name}_{parts["data"]}-{parts["size"]} {platform}'.strip(),
        'In Collection': COLLECTION,
        'Results': {
            'Task': 'Semantic Segmentation',
            'Dataset': data,
            'Metrics': {**metrics, 'Seeds': len(entries)},
        },
        'Config': config,
        'Metadata': {
            'Training Data': data,
            'Batch Size': int(parts['batch']),
            'Architecture': parts['network'].split('_'),
            'Training Resources': '; '.join(sorted({entry['machine'] for entry in entries})),
            'Memory (GB)': round(max(entry['peak_memory_mb'] for entry in entries) / 1024, 2),
            'Iterations': iterations,
        },
        'Training log': f'{folder}/{entries[0]["data"]}.jsonl',
        'Code': 'mmseg_rmi/losses',
        'Framework': 'PyTorch',
        'Paper': PAPER,
    }


def write_metafile(entries: Iterable[Mapping[str, Any]], folder: str, file: Path) -> None:
    """Write the models of reported results into a file."""
    dumper = yaml.SafeDumper
    dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]
    content = make_metafile(entries, folder)
    file.write_text(yaml.dump(content, Dumper=dumper, sort_keys=False, width=200))
