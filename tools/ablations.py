"""Write the configs of the paper's ablations: what its table 3 varies about a config with RMI.

One child config per row of table 3a (how the maps shrink, and by which factor DF) and table 3b
(side R of a region), each of two lines. Train and test them like any other config:

    python tools/ablations.py configs/deeplabv3/deeplabv3_r101-d16_4xb4-rmi-30k_voc12aug-513x513.py
    python tools/train.py work_dirs/ablations/rmi-avg-df2-r3_deeplabv3_....py
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from mmseg_rmi.losses import RMILoss
from mmseg_rmi.utils.command_line import add_debug_argument, run_tool, user_path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.loss_swap.swap import find_class, is_pure_python


class Setting(NamedTuple):
    """The settings that distinguish a row of the table, named as those of RMILoss."""

    downsample: str
    downsample_factor: int
    region_size: int

    @property
    def name(self) -> str:
        return f'rmi-{self.downsample}-df{self.downsample_factor}-r{self.region_size}'


TABLE_3A = (
    *(Setting(downsample, 4, 3) for downsample in ('interp', 'max', 'avg')),
    *(Setting('avg', factor, 3) for factor in (2, 3, 4, 5, 6)),
)
TABLE_3B = (
    *(Setting('avg', 4, region) for region in (1, 2, 3, 4)),
    *(Setting('avg', 6, region) for region in (2, 3, 4, 5)),
)
TABLE_3 = tuple(dict.fromkeys(TABLE_3A + TABLE_3B))  # two rows are in both


def check_base(config: Path) -> None:
    """Raise unless the decode head of a config has RMI as its only loss."""
    if is_pure_python(str(config)):
        raise ValueError(
            f'{config} is a pure-Python config, of which there are no children: name another one, '
            'or set downsample, downsample_factor and region_size in copies of it'
        )
    head = Config.fromfile(config).model.decode_head
    loss = head.get('loss_decode') if isinstance(head, dict) else None
    if not isinstance(loss, dict) or find_class(loss.get('type')) is not RMILoss:
        raise ValueError(
            f'{config} must train one decode head with one RMILoss, got loss_decode={loss}: name '
            "a config with model = dict(decode_head=dict(loss_decode=dict(type='RMILoss')))"
        )


def write_ablations(config: Path, folder: Path) -> Iterator[Path]:
    """Write a child of a config for each setting, and yield its path."""
    check_base(config)
    folder.mkdir(parents=True, exist_ok=True)
    base = os.path.relpath(config.resolve(), folder.resolve())
    for setting in TABLE_3:
        settings = ', '.join(f'{name}={value!r}' for name, value in setting._asdict().items())
        child = folder / f'{setting.name}_{config.name}'
        child.write_text(
            f'_base_ = {base!r}\nmodel = dict(decode_head=dict(loss_decode=dict({settings})))\n'
        )
        yield child


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', type=Path, help='config that trains with RMI')
    parser.add_argument(
        '--out', type=user_path, default=Path('work_dirs/ablations'), help='folder for the configs'
    )
    add_debug_argument(parser)
    arguments = parser.parse_args()
    for child in write_ablations(arguments.config, arguments.out):
        print(child)


if __name__ == '__main__':
    run_tool(main)
