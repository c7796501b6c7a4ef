"""Images and labels that are decoded once and then kept in memory."""

from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS

_KEPT: dict[Any, np.ndarray] = {}  # of this process, and of those that it forks from then on


@TRANSFORMS.register_module()
class LoadKeptImageFromFile(LoadImageFromFile):
    """Load an image as ``LoadImageFromFile`` does, and from memory the next time.

    A process keeps as many images as it has met, so this is for data sets that fit into memory
    decoded. Worker processes share what :class:`mmseg_rmi.hooks.KeepImagesHook` loads before they
    start. Arguments are those of ``mmcv.transforms.LoadImageFromFile``.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> import mmcv
        >>> path = Path(mkdtemp(), 'a.png')
        >>> _ = mmcv.imwrite(np.full((2, 3, 3), 7, np.uint8), str(path))
        >>> load = LoadKeptImageFromFile()
        >>> _ = load(dict(img_path=str(path)))
        >>> path.unlink()
        >>> load(dict(img_path=str(path)))['img'].shape
        (2, 3, 3)
    """

    def transform(self, results: dict) -> dict | None:
        """Add ``img``, ``img_shape`` and ``ori_shape``."""
        key = (repr(self), results['img_path'])
        if key not in _KEPT:
            loaded = super().transform(dict(results))
            if loaded is None:  # which `ignore_empty` allows
                return loaded
            _KEPT[key] = loaded['img']
        image = _KEPT[key].copy()
        return {**results, 'img': image, 'img_shape': image.shape[:2], 'ori_shape': image.shape[:2]}


@TRANSFORMS.register_module()
class LoadKeptAnnotations(LoadAnnotations):
    """Load a label map as ``LoadAnnotations`` does, and from memory the next time.

    See :class:`LoadKeptImageFromFile`. Arguments are those of
    ``mmseg.datasets.transforms.LoadAnnotations``.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> import mmcv
        >>> path = Path(mkdtemp(), 'a.png')
        >>> _ = mmcv.imwrite(np.array([[0, 1], [255, 0]], np.uint8), str(path))
        >>> load = LoadKeptAnnotations()
        >>> for _ in range(2):  # the second time without the file
        ...     found = load(dict(seg_map_path=str(path), reduce_zero_label=False, seg_fields=[]))
        ...     path.unlink(missing_ok=True)
        >>> found['gt_seg_map'].tolist()
        [[0, 1], [255, 0]]
    """

    def _load_seg_map(self, results: dict) -> None:
        label_map = str(results.get('label_map')), results.get('reduce_zero_label')
        key = (self.imdecode_backend, results['seg_map_path'], *label_map)
        if key in _KEPT:
            results['gt_seg_map'] = _KEPT[key].copy()
            results['seg_fields'].append('gt_seg_map')
            return
        super()._load_seg_map(results)
        _KEPT[key] = results['gt_seg_map'].copy()
