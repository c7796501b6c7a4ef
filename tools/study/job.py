"""A cell on its way, and the folder of its training."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tools.study.fingerprint import Options
from tools.study.plan import Cell
from tools.study.platforms import Platform

RECORD = 'run.json'  # of a folder: what was trained in it


@dataclass
class Job:
    """A cell on its way: what it trains with and where.

    Args:
        cell: the cell.
        config: its config.
        options: of its training, on top of the config.
        test_options: of its test, on top of both.
        factor: of the learning rate.
        config_hash: the fingerprint of the training.
        platform: what computes it.
        kind: tells cells apart that do not take equally long.
        folder: of checkpoints and logs.
        iterations: of the training.

    Attributes:
        done: iterations of the training that are over, those before it is resumed included.
    """

    cell: Cell
    config: Path
    options: Options
    test_options: Options
    factor: float
    config_hash: str
    platform: Platform
    kind: str
    folder: Path
    iterations: int
    done: int = field(init=False)

    def __post_init__(self) -> None:
        if self.finished_training() is not None:
            self.done = self.iterations
        elif self.can_resume():
            self.done = max(map(_iteration, checkpoints(self.folder)), default=0)
        else:
            self.done = 0

    @property
    def checkpoint(self) -> Path:
        """Name the checkpoint at the end of the training."""
        return self.folder / f'iter_{self.iterations}.pth'

    def finished_training(self) -> dict[str, Any] | None:
        """Read what the training took if it is over, and its network is there to be tested."""
        training = self._read_record().get('training')
        is_there = training and ('diverged' in training or self.checkpoint.exists())
        return training if is_there else None

    def can_resume(self) -> bool:
        """Tell whether the folder has this training's beginning."""
        known = self._read_record()
        return bool(known) and 'training' not in known

    def write_record(self, **more: Any) -> None:
        """Note in the folder which training it has."""
        content = {'config_hash': self.config_hash, **asdict(self.platform), **more}
        (self.folder / RECORD).write_text(json.dumps(content))

    def _read_record(self) -> dict[str, Any]:
        """Read what is known of this training; nothing if the folder has another one."""
        try:
            known = json.loads((self.folder / RECORD).read_text())
        except (FileNotFoundError, json.JSONDecodeError):  # none, or cut off
            return {}
        same = known.get('config_hash') == self.config_hash and Platform.of(known) == self.platform
        return known if same else {}


def checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints of a training, the newest last."""
    return sorted(folder.glob('iter_*.pth'), key=_iteration)


def _iteration(checkpoint: Path) -> int:
    return int(checkpoint.stem.removeprefix('iter_'))
