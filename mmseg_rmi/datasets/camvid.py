"""CamVid in the 480 x 360 version that SegNet's authors published."""

from pathlib import Path, PurePosixPath
from typing import Any

import mmengine
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from mmseg_rmi.datasets.folds import take_fold
from mmseg_rmi.utils.checks import check_integer

CLASSES = (
    'sky',
    'building',
    'pole',
    'road',
    'pavement',
    'tree',
    'sign symbol',
    'fence',
    'car',
    'pedestrian',
    'bicyclist',
    'unlabelled',
)
PALETTE = [
    [128, 128, 128],
    [128, 0, 0],
    [192, 192, 128],
    [128, 64, 128],
    [60, 40, 222],
    [128, 128, 0],
    [192, 128, 128],
    [64, 64, 128],
    [64, 0, 128],
    [64, 64, 0],
    [0, 128, 192],
    [0, 0, 0],
]
UNLABELLED = CLASSES.index('unlabelled')


def read_pairs(list_file: str | Path) -> list[tuple[str, str]]:
    """Read a list in SegNet's format: one ``IMAGE LABEL`` pair of paths per line.

    Of each path the last folder and the file name count: ``/SegNet/CamVid/train/x.png`` is
    ``train/x.png``.

    Raises:
        ValueError: a line is not a pair of paths, or there is none.
    """
    pairs = []
    for number, line in enumerate(mmengine.list_from_file(list_file), start=1):
        paths = line.split()
        if len(paths) not in (0, 2):
            raise ValueError(f'{list_file}, line {number}: expected "IMAGE LABEL", not {line!r}')
        if paths:
            pairs.append((_inside_copy(paths[0]), _inside_copy(paths[1])))
    if not pairs:
        raise ValueError(f'{list_file} names no image')
    return pairs


def _inside_copy(path: str) -> str:
    return str(PurePosixPath(*PurePosixPath(path).parts[-2:]))


@DATASETS.register_module()
class CamVid12Dataset(BaseSegDataset):
    """CamVid with unlabelled pixels as a twelfth class.

    The authors of RMI trained and scored 12 classes: the mIoU printed in their table 4 is over 12,
    though only 11 columns are shown.

    Args:
        ann_file: a list in SegNet's format, see :func:`read_pairs`; relative to ``data_root``.
        data_root: the folder that holds ``train``, ``trainannot``, ``val``, ``valannot``, ....
        kwargs: passed on to ``mmseg.datasets.BaseSegDataset``.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: a line of the list is not a pair of paths, or there is none.

    Example:
        >>> from tempfile import mkdtemp
        >>> root = Path(mkdtemp())
        >>> _ = (root / 'train.txt').write_text('train/A_1.png trainannot/A_1.png')
        >>> dataset = CamVid12Dataset('train.txt', data_root=str(root))
        >>> Path(dataset[0]['seg_map_path']).relative_to(root).as_posix()
        'trainannot/A_1.png'
        >>> dataset.metainfo['classes'][-1]
        'unlabelled'
    """

    METAINFO = dict(classes=CLASSES, palette=PALETTE)

    def __init__(self, ann_file: str, data_root: str, **kwargs: Any) -> None:
        super().__init__(ann_file=ann_file, data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the list of image and label pairs."""
        if not Path(self.ann_file).is_file():
            raise FileNotFoundError(
                f'there is no CamVid list {self.ann_file!r}; '
                'tools/dataset_converters/camvid.py says which splits a copy holds and writes '
                'the list of trainval'
            )
        return [
            dict(
                img_path=str(Path(self.data_root, image)),
                seg_map_path=str(Path(self.data_root, label)),
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for image, label in read_pairs(self.ann_file)
        ]


@DATASETS.register_module()
class CamVidDataset(CamVid12Dataset):
    """CamVid with its 11 classes; unlabelled pixels are ignored (255).

    Arguments and errors are those of :class:`CamVid12Dataset`.

    Example:
        >>> from tempfile import mkdtemp
        >>> root = Path(mkdtemp())
        >>> _ = (root / 'train.txt').write_text('train/A_1.png trainannot/A_1.png')
        >>> dataset = CamVidDataset('train.txt', data_root=str(root))
        >>> len(dataset), len(dataset.metainfo['classes']), dataset.label_map
        (1, 11, {11: 255})
    """

    METAINFO = dict(classes=CLASSES[:UNLABELLED], palette=PALETTE[:UNLABELLED])

    @classmethod
    def get_label_map(cls, new_classes: Any = None) -> dict[int, int]:
        """Map unlabelled pixels to 255, after the choice of classes that the config made."""
        return {**(super().get_label_map(new_classes) or {}), UNLABELLED: 255}


@DATASETS.register_module()
class CamVidFoldDataset(CamVidDataset):
    """The images of a list less one stretch of each drive, or those stretches.

    Frames that are near in time show the same street. So a list is not split at random but as the
    drives went, into ``num_folds`` stretches of each: the ``fold``-th of every drive are held out.

    Args:
        fold: which stretch is held out, from 0 to ``num_folds - 1``.
        held_out: whether this data set is what is held out, or all the rest.
        num_folds: into how many stretches each drive is split.
        kwargs: passed on to :class:`CamVidDataset`.

    Raises:
        ValueError: there is no such fold, or a drive has fewer images than there are folds; and
            the errors of :class:`CamVidDataset`.
        TypeError: a number of folds, or a fold, that is no integer.

    Example:
        >>> from tempfile import mkdtemp
        >>> root = Path(mkdtemp())
        >>> with open(root / 'train.txt', 'w') as file:
        ...     for i in range(6):
        ...         print(f'train/A_{i}.png trainannot/A_{i}.png', file=file)
        >>> held_out = CamVidFoldDataset(
        ...     1, held_out=True, num_folds=3, ann_file='train.txt', data_root=str(root)
        ... )
        >>> [Path(image['img_path']).name for image in held_out]
        ['A_2.png', 'A_3.png']
    """

    def __init__(
        self, fold: int, held_out: bool = False, num_folds: int = 6, **kwargs: Any
    ) -> None:
        check_integer('num_folds', num_folds, 2)
        check_integer('fold', fold, 0, num_folds - 1)
        self.fold = fold
        self.held_out = held_out
        self.num_folds = num_folds
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the list, and keep the stretches of this fold or all others, drive by drive."""
        drives: dict[str, list[dict[str, Any]]] = {}
        for image in sorted(super().load_data_list(), key=lambda image: _frame(image['img_path'])):
            drives.setdefault(_drive(image['img_path']), []).append(image)
        kept = []
        for drive, images in drives.items():
            try:
                kept += take_fold(images, self.fold, self.num_folds, self.held_out)
            except ValueError as error:
                raise ValueError(f'{self.ann_file}, drive {drive!r}: {error}') from error
        return kept


def _frame(path: str) -> str:
    """``0016E5_00390`` of ``train/0016E5_00390.png``: splits part one drive among folders."""
    return PurePosixPath(path).stem


def _drive(path: str) -> str:
    """``0016E5`` of ``train/0016E5_00390.png``."""
    return _frame(path).rpartition('_')[0]
