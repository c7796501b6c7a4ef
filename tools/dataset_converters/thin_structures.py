"""Lay out images of thin structures: ``python .../thin_structures.py drive PATH data/drive``.

Reads what the authors publish and writes ``images`` and ``labels`` of equal names, labels as PNG of
0, 1 and 255, which does not count:

* ``drive``: the folder ``training`` or ``test`` of DRIVE, with ``images/21_training.tif``,
  ``1st_manual/21_manual1.gif`` and ``mask/21_training_mask.gif``; 255 outside the field of view.
* ``crackforest``: CrackForest with ``image/001.jpg`` and ``groundTruth/001.mat``; needs scipy.
* ``isbi2012``: the folder of ``train-volume.tif`` and ``train-labels.tif``, slices of one stack,
  where a membrane is black.

Nothing is written before everything has been read.
"""

import argparse
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageSequence

from mmseg_rmi.utils.command_line import add_debug_argument, run_tool

IGNORED = 255


class Pair(NamedTuple):
    """An image with its label.

    Attributes:
        name: of both files, without what they end in.
        image: as read, or a file that is copied.
        label: H x W, uint8: 0, 1 or 255.
    """

    name: str
    image: np.ndarray | Path
    label: np.ndarray


def read_drive(source: Path) -> Iterator[Pair]:
    """Read photographs of the retina, of which a mask tells the field of view."""
    for file in _list(source / 'images', '*.tif'):
        number, part = file.stem.split('_', 1)
        vessels = _read_binary(source / '1st_manual' / f'{number}_manual1.gif')
        inside = _read_binary(source / 'mask' / f'{number}_{part}_mask.gif')
        image = _read(file)
        _check_size(file, image, vessels, inside)
        yield Pair(number, image, np.where(inside, vessels, IGNORED).astype(np.uint8))


def read_crackforest(source: Path) -> Iterator[Pair]:
    """Read photographs of roads, whose segments are numbered from 1, the road itself."""
    from scipy.io import loadmat

    for file in _list(source / 'image', '*.jpg'):
        truth = source / 'groundTruth' / f'{file.stem}.mat'
        if not truth.is_file():
            raise ValueError(f'{file} has no {truth}')
        content = loadmat(str(truth), simplify_cells=True)
        if 'groundTruth' not in content or 'Segmentation' not in content['groundTruth']:
            raise ValueError(f'{truth} holds no groundTruth.Segmentation: is it of CrackForest?')
        segments = np.asarray(content['groundTruth']['Segmentation'])
        if segments.min() < 1:
            raise ValueError(f'{truth} numbers segments from {segments.min()}, expected from 1')
        _check_size(file, _read(file), segments)
        yield Pair(file.stem, file, (segments > 1).astype(np.uint8))


def read_isbi2012(source: Path) -> Iterator[Pair]:
    """Read the slices of a stack, whose labels are white in cells and black on membranes."""
    volume, labels = (_read_stack(source / f'train-{name}.tif') for name in ('volume', 'labels'))
    if len(volume) != len(labels):
        raise ValueError(f'{source} holds {len(volume)} slices and {len(labels)} labels')
    for number, (image, label) in enumerate(zip(volume, labels, strict=True)):
        _check_size(source / f'train-volume.tif, slice {number}', image, label)
        yield Pair(f'{number:02}', image, (label == 0).astype(np.uint8))


READERS: dict[str, Callable[[Path], Iterator[Pair]]] = {
    'drive': read_drive,
    'crackforest': read_crackforest,
    'isbi2012': read_isbi2012,
}


def _list(folder: Path, pattern: str) -> list[Path]:
    files = sorted(folder.glob(pattern))
    if not files:
        raise ValueError(
            f'there is no {folder / pattern}: name the folder that holds {folder.name}'
        )
    return files


def _read(file: Path) -> np.ndarray:
    if not file.is_file():
        raise ValueError(f'there is no {file}')
    with Image.open(file) as image:
        return np.asarray(image)


def _read_binary(file: Path) -> np.ndarray:
    """Read a map of two values, whatever the brighter one is: H x W, bool."""
    with Image.open(file) if file.is_file() else Image.new('L', (0, 0)) as image:
        values = np.asarray(image.convert('L'))
    if not values.size:
        raise ValueError(f'there is no {file}')
    if len(np.unique(values)) > 2:
        raise ValueError(f'{file} holds {len(np.unique(values))} values, expected black and white')
    return values > 0


def _read_stack(file: Path) -> list[np.ndarray]:
    if not file.is_file():
        raise ValueError(f'there is no {file}')
    with Image.open(file) as stack:
        return [np.array(frame.convert('L')) for frame in ImageSequence.Iterator(stack)]


def _check_size(file: Path, image: np.ndarray, *maps: np.ndarray) -> None:
    for found in maps:
        if found.shape != image.shape[:2]:
            raise ValueError(f'{file} is {image.shape[:2]} and its label {found.shape}')


def convert(name: str, source: Path, out: Path) -> int:
    """Write the pairs of a data set; return how many there are.

    Raises:
        ValueError: something is missing or not as published; or a label has one class alone.
    """
    pairs = list(READERS[name](source))
    for pair in pairs:
        if not {0, 1} <= set(np.unique(pair.label)):
            raise ValueError(f'the label of {pair.name} has one class alone: is it the right file?')
    for folder in ('images', 'labels'):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for pair in pairs:
        if isinstance(pair.image, Path):
            shutil.copyfile(pair.image, out / 'images' / pair.image.name)
        else:
            Image.fromarray(pair.image).save(out / 'images' / f'{pair.name}.png')
        Image.fromarray(pair.label).save(out / 'labels' / f'{pair.name}.png')
    return len(pairs)


def main() -> None:
    """Convert as the command line says."""
    parser = argparse.ArgumentParser(description='Lay out images of thin structures')
    parser.add_argument('name', choices=list(READERS))
    parser.add_argument('source', type=Path, help='folder as published')
    parser.add_argument('out', type=Path, help='such as data/drive')
    add_debug_argument(parser)
    args = parser.parse_args()
    print(f'{convert(args.name, args.source, args.out)} images and labels in {args.out}')


if __name__ == '__main__':
    run_tool(main)
