"""Checkpoints that tools look into run no code."""

import sys
from pathlib import Path

import pytest
import torch

from helpers.tool_runs import TOOLS, config, finish, options, start


class Touch:
    """An object that a checkpoint stores as a call, which leaves a file behind."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize('tool', ['class_maps.py', 'gradient_balance.py'])
def test_code_in_a_checkpoint_is_refused(tool: str, scenes: Path, tmp_path: Path) -> None:
    weights, touched = tmp_path / 'weights.pth', tmp_path / 'touched'
    torch.save(dict(state_dict={}, meta=Touch(touched)), weights)
    command = [sys.executable, TOOLS / 'analysis' / tool, config('rmi'), weights]
    process = start(*command, *options(scenes))
    with pytest.raises(AssertionError, match=r'Refused to load .*weights\.pth: it holds'):
        finish(process)
    assert not touched.exists()
