"""A small copy of CamVid, made by code."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = (12, 9)  # width, height


def write_pair(root: Path, split: str, name: str, labels: np.ndarray) -> None:
    for folder in (split, f'{split}annot'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(len(name)).integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
    Image.fromarray(image).save(root / split / name)
    Image.fromarray(labels).save(root / f'{split}annot' / name)


@pytest.fixture
def make_copy(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of copies: ``make_copy(train=3, val=2)`` has so many images of each."""

    def make(**counts: int) -> Path:
        root = tmp_path / 'CamVid'
        root.mkdir()
        for split, count in counts.items():
            names = [f'{split}_{index}.png' for index in range(count)]
            for name in names:
                labels = np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE[::-1]) % 12
                write_pair(root, split, name, labels)
            (root / f'{split}.txt').write_text(
                ''.join(
                    f'/SegNet/CamVid/{split}/{n} /SegNet/CamVid/{split}annot/{n}\n' for n in names
                )
            )
        return root

    return make
