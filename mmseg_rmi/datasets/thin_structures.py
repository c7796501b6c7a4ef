"""Images of thin structures in two classes: vessels, cracks and membranes.

All three lie as ``images/NAME`` and ``labels/NAME.png``, where a label is 0, 1 or 255, which does
not count. ``tools/dataset_converters/thin_structures.py`` brings the published files into that
layout; ``data_prefix``, ``img_suffix`` and ``seg_map_suffix`` read others.
"""

from pathlib import Path
from typing import Any

from mmseg.datasets import BaseSegDataset, DRIVEDataset
from mmseg.registry import DATASETS

from mmseg_rmi.datasets.folds import take_fold

PALETTE = DRIVEDataset.METAINFO['palette']


class ThinStructureDataset(BaseSegDataset):
    """Two classes in ``images`` and ``labels``, of which a fold may be held out.

    Args:
        fold: which stretch of the images, in the order of their names, is held out, from 0 to
            ``num_folds - 1``; None for all images.
        held_out: whether this data set is what is held out, or all the rest.
        num_folds: into how many stretches the images are split.
        data_prefix: folders of images and labels below ``data_root``.
        img_suffix: how the names of images end.
        seg_map_suffix: how those of labels end.
        kwargs: passed on to ``mmseg.datasets.BaseSegDataset``.

    Raises:
        FileNotFoundError: there is no folder of images or labels.
        ValueError: there is no image, an image has no label, there is no such fold, or there are
            fewer images than folds.
        TypeError: a number of folds, or a fold, that is no integer.

    Example:
        >>> from tempfile import mkdtemp
        >>> root = Path(mkdtemp())
        >>> for folder in ('images', 'labels'):
        ...     (root / folder).mkdir()
        ...     for name in 'abc':
        ...         (root / folder / f'{name}.png').touch()
        >>> dataset = ThinStructureDataset(
        ...     fold=0, data_root=str(root), metainfo=dict(classes=('background', 'root'))
        ... )
        >>> [Path(image['img_path']).name for image in dataset]
        ['b.png', 'c.png']
    """

    def __init__(
        self,
        fold: int | None = None,
        held_out: bool = False,
        num_folds: int = 3,
        data_prefix: dict[str, str] | None = None,
        img_suffix: str = '.png',
        seg_map_suffix: str = '.png',
        **kwargs: Any,
    ) -> None:
        self.fold = fold
        self.held_out = held_out
        self.num_folds = num_folds
        prefix = data_prefix or dict(img_path='images', seg_map_path='labels')
        super().__init__(
            data_prefix=prefix, img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the images of the fold, all of which have a label."""
        for folder in self.data_prefix.values():
            if not Path(folder).is_dir():
                raise FileNotFoundError(
                    f'there is no folder {folder}: tools/dataset_converters/thin_structures.py '
                    'makes images and labels of the published files'
                )
        images = super().load_data_list()
        if not images:
            folder = self.data_prefix['img_path']
            raise ValueError(f'{folder} holds no image *{self.img_suffix}')
        missing = [e['seg_map_path'] for e in images if not Path(e['seg_map_path']).is_file()]
        if missing:
            raise ValueError(f'{len(missing)} image(s) have no label, the first is {missing[0]}')
        if self.fold is None:
            return images
        return take_fold(images, self.fold, self.num_folds, self.held_out)


@DATASETS.register_module()
class DRIVEFoldDataset(ThinStructureDataset):
    """Blood vessels in photographs of the retina (DRIVE), 584 x 565.

    MMSegmentation's ``DRIVEDataset`` counts what lies outside the field of view as background; the
    converter marks it 255. Arguments and errors are those of :class:`ThinStructureDataset`.

    Example:
        >>> from tempfile import mkdtemp
        >>> root = Path(mkdtemp())
        >>> for folder in ('images', 'labels'):
        ...     (root / folder).mkdir()
        ...     for name in 'abc':
        ...         (root / folder / f'{name}.png').touch()
        >>> dataset = DRIVEFoldDataset(fold=0, held_out=True, data_root=str(root))
        >>> dataset.metainfo['classes'], Path(dataset[0]['img_path']).name
        (('background', 'vessel'), 'a.png')
    """

    METAINFO = DRIVEDataset.METAINFO


@DATASETS.register_module()
class CrackForestDataset(ThinStructureDataset):
    """Cracks in photographs of roads (CrackForest), 320 x 480.

    Arguments and errors are those of :class:`ThinStructureDataset`; images end in ``.jpg``.

    Example:
        >>> dataset = CrackForestDataset(lazy_init=True)  # without reading any folder
        >>> dataset.metainfo['classes'], dataset.img_suffix
        (('background', 'crack'), '.jpg')
    """

    METAINFO = dict(classes=('background', 'crack'), palette=PALETTE)

    def __init__(self, fold: int | None = None, img_suffix: str = '.jpg', **kwargs: Any) -> None:
        super().__init__(fold, img_suffix=img_suffix, **kwargs)


@DATASETS.register_module()
class ISBI2012Dataset(ThinStructureDataset):
    """Membranes of cells in slices of an electron micrograph (ISBI 2012), 512 x 512.

    Arguments and errors are those of :class:`ThinStructureDataset`.

    Example:
        >>> dataset = ISBI2012Dataset(lazy_init=True)  # without reading any folder
        >>> dataset.metainfo['classes']
        ('cell', 'membrane')
    """

    METAINFO = dict(classes=('cell', 'membrane'), palette=PALETTE)
