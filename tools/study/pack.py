"""The study's data in a small folder, for a machine without any.

Photographs are compressed anew, so results on packed data are kept apart from those on the
originals. Labels, lists and images that are small as they are stay the same.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tools.study.platforms import PACKED

VOC_SETS = ('train', 'val')


def pack(
    data: Path, weights: Path, out: Path, quality: int, sets: Sequence[str] | None = None
) -> int:
    """Pack data sets, and the pretrained weights if there are any, into a folder.

    Args:
        data: folder of the data sets.
        weights: folder of weights, which becomes ``out/weights``.
        out: the folder, which must not be there yet or be empty.
        quality: of JPEG, 1 to 95.
        sets: names of folders of ``data``; those of the study that are there if None.

    Returns:
        The size of the folder in bytes.

    Raises:
        ValueError: the folder holds something, a set is not there, or its name is unknown.
    """
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f'{out} holds something already: remove it or name another folder')
    chosen = [name for name in PACKERS if (data / name).is_dir()] if sets is None else list(sets)
    for name in chosen:
        if name not in PACKERS:
            raise ValueError(f'{name} is no data set of the study; there are {", ".join(PACKERS)}')
        if not (data / name).is_dir():
            raise ValueError(f'there is no data set {name} in {data / name}: name its parent')
    if not chosen:
        raise ValueError(
            f'{data} holds none of {", ".join(PACKERS)}: name their parent with --data'
        )
    for name in chosen:
        PACKERS[name](data / name, out / name, quality)
    for file in weights.glob('*.pth'):
        _copy(file, out / 'weights' / file.name)
    (out / PACKED).write_text(json.dumps({'quality': quality, 'sets': chosen}))
    return sum(file.stat().st_size for file in out.rglob('*') if file.is_file())


def _pack_camvid(source: Path, out: Path, quality: int) -> None:
    """Write photographs as JPEG, under lists that say so."""
    from mmseg_rmi.datasets.camvid import read_pairs  # and with it MMSegmentation, in seconds

    for split in ('train', 'val'):
        lines = []
        for image, label in read_pairs(source / f'{split}.txt'):
            photograph = str(Path(image).with_suffix('.jpg'))
            _compress(source / image, out / photograph, quality)
            _copy_labels(source / label, out / label)
            lines.append(f'{photograph} {label}\n')
        (out / f'{split}.txt').write_text(''.join(lines))


def _pack_voc(source: Path, out: Path, quality: int) -> None:
    """Write the images of the lists alone, which are no larger than what is trained on."""
    for split in VOC_SETS:
        names = Path('ImageSets') / 'Segmentation' / f'{split}.txt'
        _copy(source / names, out / names)
        for name in (source / names).read_text().split():
            image, label = f'JPEGImages/{name}.jpg', f'SegmentationClass/{name}.png'
            _compress(source / image, out / image, quality)
            _copy_labels(source / label, out / label)


def _pack_thin(source: Path, out: Path, quality: int) -> None:
    """Copy everything: compression blurs what is a pixel wide."""
    for file in _files(source / 'images', source / 'labels'):
        _copy(file, out / file.relative_to(source))


PACKERS: dict[str, Callable[[Path, Path, int], None]] = {
    'camvid': _pack_camvid,
    'voc2012_subset': _pack_voc,
    'drive': _pack_thin,
    'crackforest': _pack_thin,
    'isbi2012': _pack_thin,
}


def _compress(source: Path, out: Path, quality: int) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        image.convert('RGB').save(out, quality=quality, optimize=True)


def _copy_labels(source: Path, out: Path) -> None:
    """Write the same values with the palette that they have, as small as PNG can."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        image.save(out, optimize=True)
        with Image.open(out) as written:
            assert np.array_equal(np.asarray(written), np.asarray(image))


def _copy(source: Path, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, out)


def _files(*folders: Path) -> Iterable[Path]:
    return (file for folder in folders for file in sorted(folder.iterdir()) if file.is_file())
