"""A data loader whose augmentation of a sample depends only on the number of the sample.

The random generators of a worker depend on every sample that it has prepared, so a resumed run
would have to load all past samples again to augment the next one in the same way. Here each sample
has its own generators, seeded by the seed of the run, the rank, the number of the batch and the
place in it. A run can then continue from any batch at once, with any number of workers.
"""

from collections.abc import Iterable, Iterator
from itertools import count, islice
from typing import Any, cast

from torch.utils.data import DataLoader, Dataset, Sampler

from mmseg_rmi.hooks.random_state import seeded

Key = tuple[int, int, int]  # number of the batch, place in it, index into the data set

LOADER_SETTINGS = (
    'collate_fn',
    'multiprocessing_context',
    'num_workers',
    'persistent_workers',
    'pin_memory',
    'prefetch_factor',
    'timeout',
    'worker_init_fn',
)


class SeededDataset(Dataset):
    """A data set that draws all random numbers for a sample from the sample's own generators."""

    def __init__(self, dataset: Dataset, *entropy: int) -> None:
        self.dataset = dataset
        self.entropy = entropy
        if hasattr(dataset, 'metainfo'):
            self.metainfo = dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: Key) -> Any:
        batch, place, index = key
        with seeded(*self.entropy, batch, place):
            return self.dataset[index]


class NumberedBatches(Sampler):
    """Batches of indices, each index with the number of its batch and its place in it."""

    def __init__(self, batches: Iterable[list[int]], first: int, loader: DataLoader) -> None:
        self.batches = batches
        self.number = first
        self.length = len(loader)
        self.sampler = _sampler(loader)  # where mmengine's DistSamplerSeedHook looks for it

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in self.batches:
            number, self.number = self.number, self.number + 1
            yield [(number, place, index) for place, index in enumerate(batch)]


def seeded_loader(loader: DataLoader, entropy: tuple[int, ...], trained: int) -> DataLoader:
    """Rebuild a loader at the start of an epoch, so that each sample has its own generators.

    Args:
        loader: a loader that has not been used yet.
        entropy: seed of the run and rank.
        trained: number of batches that the run has trained on before.

    Raises:
        ValueError: an epoch has no batch.
    """
    if len(loader) == 0:
        raise _no_batch(loader)
    return _rebuild(loader, entropy, NumberedBatches(_batches(loader), trained, loader))


def endless_seeded_loader(loader: DataLoader, entropy: tuple[int, ...], trained: int) -> DataLoader:
    """Rebuild a loader likewise, without an end, and skip the batches already trained on.

    A ValueError is raised where batches are asked for and an epoch has none.
    """
    batches = islice(_epochs(loader), trained, None)
    return _rebuild(loader, entropy, NumberedBatches(batches, trained, loader))


def _epochs(loader: DataLoader) -> Iterator[list[int]]:
    for epoch in count():
        if epoch and hasattr(_sampler(loader), 'set_epoch'):
            _sampler(loader).set_epoch(epoch)
        batch = None
        for batch in _batches(loader):
            yield batch
        if batch is None:
            raise _no_batch(loader)


def _no_batch(loader: DataLoader) -> ValueError:
    size = getattr(loader.batch_sampler, 'batch_size', None)
    return ValueError(
        f'the {len(_sampler(loader))} images of this process make no batch of {size}: set a '
        'smaller train_dataloader.batch_size, or drop_last=False'
    )


def _sampler(loader: DataLoader) -> Any:
    # Not loader.sampler, which stays torch's default if the config has a batch sampler.
    return cast(Any, loader.batch_sampler).sampler


def _batches(loader: DataLoader) -> Iterable[list[int]]:
    return cast(Iterable[list[int]], loader.batch_sampler)


def _rebuild(loader: DataLoader, entropy: tuple[int, ...], batches: NumberedBatches) -> DataLoader:
    return DataLoader(
        SeededDataset(loader.dataset, *entropy),
        batch_sampler=batches,
        **{name: getattr(loader, name) for name in LOADER_SETTINGS},
    )
