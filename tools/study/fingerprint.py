"""A short hash of all that a trained network depends on."""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

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

Options = dict[str, Any]


@functools.cache
def read_config(file: Path) -> Config:
    return Config.fromfile(file, import_custom_modules=False)  # which takes seconds


def fingerprint(config: Path, options: Options) -> str:
    """Hash all that a trained network depends on: 12 hexadecimal digits.

    Two cells with the same one train the same network, wherever the data lies.
    """
    return _fingerprint(config, json.dumps(options))


@functools.cache
def _fingerprint(config: Path, options: str) -> str:
    merged = Config(read_config(config).to_dict())
    merged.merge_from_dict(json.loads(options))
    content = {key: _without_places(merged.get(key)) for key in TRAINING}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _without_places(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _without_places(value) for key, value in node.items() if key not in ELSEWHERE}
    if isinstance(node, Sequence) and not isinstance(node, str):
        return [_without_places(value) for value in node]
    return node
