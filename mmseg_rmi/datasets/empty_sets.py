"""Data sets without images, of which MMEngine says nothing that helps, or nothing at all."""

from collections.abc import Callable, Sequence, Sized
from functools import wraps
from typing import Any

from mmengine.dataset import BaseDataset, ConcatDataset, DefaultSampler, InfiniteSampler

SETTINGS = ('ann_file', 'data_prefix', 'img_suffix', 'times')  # that decide on what a set holds


class EmptySetError(ValueError):
    """A data set has no images; the message names its settings."""


def refuse_empty_sets() -> None:
    """Let MMEngine raise an :class:`EmptySetError` for a data set without images.

    ``BaseDataset`` fails to concatenate its list, ``ConcatDataset`` to find the first of its sets,
    and ``InfiniteSampler`` looks for the first index without an end, in silence.
    """
    ConcatDataset.__init__ = _joining(ConcatDataset.__init__)
    BaseDataset._serialize_data = _listing(BaseDataset._serialize_data)
    for sampler in (DefaultSampler, InfiniteSampler):
        sampler.__init__ = _sampling(sampler.__init__)


def _joining(init: Callable[..., None]) -> Callable[..., None]:
    @wraps(init)
    def checked(self: Any, datasets: Sequence[Any], *args: Any, **settings: Any) -> None:
        if len(datasets) == 0:
            raise EmptySetError('a ConcatDataset joins datasets=[]: name at least one in that list')
        init(self, datasets, *args, **settings)

    return checked


def _listing(serialize: Callable[[BaseDataset], Any]) -> Callable[[BaseDataset], Any]:
    @wraps(serialize)
    def checked(self: BaseDataset) -> Any:
        if not self.data_list:
            raise EmptySetError(_explain(self))
        return serialize(self)

    return checked


def _sampling(init: Callable[..., None]) -> Callable[..., None]:
    @wraps(init)
    def checked(self: Any, dataset: Sized, *args: Any, **settings: Any) -> None:
        if getattr(dataset, 'times', 1) < 1 or len(dataset) == 0:
            raise EmptySetError(_explain(dataset))
        init(self, dataset, *args, **settings)

    return checked


def _explain(dataset: Sized) -> str:
    """Say what was looked for, if the data set is not one of other data sets."""
    found = [f'{name}={getattr(dataset, name)!r}' for name in SETTINGS if hasattr(dataset, name)]
    settings = f' with {", ".join(found)}' if found else ''
    return (
        f'a {type(dataset).__name__}{settings} has no images: correct data_root, data_prefix, '
        'img_suffix and ann_file of the data set, and times of a RepeatDataset'
    )
