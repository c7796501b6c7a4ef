"""Images and labels that are decoded once and then kept in memory."""

from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import HOOKS, TRANSFORMS

_KEPT: dict[Any, np.ndarray] = {}  # of this process, and of those that it forks from then on


@TRANSFORMS.register_module()
class LoadKeptImageFromFile(LoadImageFromFile):
    """Load an image as ``LoadImageFromFile`` does, and from memory the next time.

    A process keeps as many images as it has met, so this is for data sets that fit into memory
    decoded. Worker processes share what :class:`KeepImagesHook` loads before they start.
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

    See :class:`LoadKeptImageFromFile`.
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


@HOOKS.register_module()
class KeepImagesHook(Hook):
    """Load all training images before the workers start, so that these share them.

    The training pipeline begins with :class:`LoadKeptImageFromFile` and
    :class:`LoadKeptAnnotations`.
    """

    def before_train(self, runner: Runner) -> None:
        """Load every image and label once."""
        dataset = runner.train_loop.dataloader.dataset
        dataset = getattr(dataset, 'dataset', dataset)  # within that of RNGStateHook
        assert isinstance(dataset, BaseDataset)
        loaders = [
            transform
            for transform in dataset.pipeline.transforms
            if isinstance(transform, LoadKeptImageFromFile | LoadKeptAnnotations)
        ]
        for index in range(len(dataset)):
            results = dataset.get_data_info(index)
            for load in loaders:
                results = load(results)
