"""Images that all workers of a training share."""

from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from mmseg_rmi.datasets.kept_images import LoadKeptAnnotations, LoadKeptImageFromFile


@HOOKS.register_module()
class KeepImagesHook(Hook):
    """Load all training images before the workers start, so that these share them.

    The training pipeline begins with :class:`.LoadKeptImageFromFile` and
    :class:`.LoadKeptAnnotations`.

    Raises:
        TypeError: at the start of training, the data set is one of other data sets.
        ValueError: at the start of training, its pipeline has neither of these transforms.

    Example:
        >>> default_hooks = dict(images=dict(type='KeepImagesHook'))
    """

    priority = 'HIGH'  # before RNGStateHook, which starts the workers

    def before_train(self, runner: Runner) -> None:
        """Load every image and label once."""
        dataset = runner.train_loop.dataloader.dataset
        if not isinstance(dataset, BaseDataset):
            raise TypeError(
                'KeepImagesHook needs a data set that lists its own images (a BaseDataset), got '
                f'{type(dataset).__name__}: train on one without a wrapper, or without the hook'
            )
        loaders = [
            transform
            for transform in dataset.pipeline.transforms
            if isinstance(transform, LoadKeptImageFromFile | LoadKeptAnnotations)
        ]
        if not loaders:
            raise ValueError(
                'KeepImagesHook found nothing to load with in the training pipeline: begin it with '
                'LoadKeptImageFromFile and LoadKeptAnnotations'
            )
        for index in range(len(dataset)):
            results = dataset.get_data_info(index)
            for load in loaders:
                results = load(results)
