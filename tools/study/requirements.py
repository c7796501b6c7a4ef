"""Requirements of cells: data, pretrained weights, the library of a dense CRF."""

import importlib.util
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tools.study.plan import Cell, Plan

CONVERTER = 'python tools/model_converters/efficientnet_lite.py'
CRF_LIBRARY, CRF_LOOP = 'pydensecrf', 'DenseCRFTestLoop'


def find_missing(
    plan: Plan, cells: Iterable[Cell], data: Path, weights: Path
) -> dict[str, list[Cell]]:
    """Find the cells that cannot run here.

    Returns:
        The cells by what they lack and how to get it.
    """
    found = defaultdict(list)
    for cell in cells:
        if missing := _missing(plan, cell, data, weights):
            found[missing].append(cell)
    return dict(found)


def _missing(plan: Plan, cell: Cell, data: Path, weights: Path) -> str | None:
    name = plan.pretrained(cell)
    if name and not (weights / name).is_file():
        return (
            f'there are no pretrained weights {weights / name}; this writes them: '
            f'{CONVERTER} {Path(name).stem}'
        )
    folder = plan.data[cell.data]['folder']
    if not (data / folder).is_dir():
        return f'there is no data set {folder} in {data / folder}: name its parent with --data'
    loop = plan.methods[cell.method].test_options.get('test_cfg.type')
    if loop == CRF_LOOP and importlib.util.find_spec(CRF_LIBRARY) is None:
        return f"{CRF_LIBRARY} is not installed: pip install -e '.[crf]'"
    return None
