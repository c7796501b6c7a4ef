from itertools import islice

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler, pseudo_collate
from torch.utils.data import BatchSampler, DataLoader

from helpers.random_training import AugmentedNumbers
from mmseg_rmi.compat import ResumedBatches
from mmseg_rmi.hooks.seeded_loader import endless_seeded_loader, seeded_loader


def plain_loader(sampler: type, workers: int = 0) -> DataLoader:
    dataset = AugmentedNumbers()
    return DataLoader(
        dataset,
        batch_size=4,
        sampler=sampler(dataset, shuffle=True, seed=3),
        num_workers=workers,
        collate_fn=pseudo_collate,
    )


def samples(loader, batches: int) -> torch.Tensor:
    return torch.stack([x for batch in islice(loader, batches) for x in batch['x']])


def order(loader, batches: int) -> list[int]:
    return [index for batch in islice(loader, batches) for index in batch['index']]


@pytest.mark.parametrize('workers', [1, 2])
def test_samples_do_not_depend_on_the_number_of_workers(workers):
    alone, helped = (
        samples(endless_seeded_loader(plain_loader(InfiniteSampler, count), (0, 0), 0), 7)
        for count in (0, workers)
    )
    assert torch.equal(alone, helped)


@pytest.mark.parametrize('trained', [1, 2, 5])
@pytest.mark.parametrize('sampler', [InfiniteSampler, DefaultSampler])
def test_a_loader_goes_on_where_another_stopped(sampler, trained):
    whole = samples(endless_seeded_loader(plain_loader(sampler), (0, 0), 0), 8)
    rest = samples(endless_seeded_loader(plain_loader(sampler), (0, 0), trained), 8 - trained)
    assert torch.equal(whole[-len(rest) :], rest)


@pytest.mark.parametrize('seed_samples', [seeded_loader, endless_seeded_loader])
def test_a_data_set_smaller_than_a_batch_that_is_dropped_is_an_error(seed_samples):
    dataset = AugmentedNumbers()
    size = len(dataset) + 1
    loader = DataLoader(
        dataset, batch_size=size, sampler=DefaultSampler(dataset, shuffle=True), drop_last=True
    )
    told = f'the {len(dataset)} images of this process make no batch of {size}: .*drop_last=False'
    with pytest.raises(ValueError, match=told):
        next(iter(seed_samples(loader, (0, 0), 0)))


def test_indices_keep_the_order_of_the_sampler():
    seeded = seeded_loader(plain_loader(DefaultSampler), (0, 0), 0)
    assert order(seeded, 3) == order(plain_loader(DefaultSampler), 3)


def test_endless_epochs_are_shuffled_as_the_sampler_says():
    plain = plain_loader(DefaultSampler)
    expected = []
    for epoch in range(3):
        plain.sampler.set_epoch(epoch)
        expected += order(plain, 3)
    assert order(endless_seeded_loader(plain_loader(DefaultSampler), (0, 0), 0), 9) == expected


def test_a_batch_sampler_of_its_own_keeps_its_batches():
    sampler = DefaultSampler(AugmentedNumbers(), shuffle=True, seed=3)
    batches = BatchSampler(sampler, batch_size=3, drop_last=True)
    plain = DataLoader(AugmentedNumbers(), batch_sampler=batches, collate_fn=pseudo_collate)
    expected = order(plain, 3)
    sampler.set_epoch(1)
    expected += order(plain, 3)
    sampler.set_epoch(0)
    assert order(endless_seeded_loader(plain, (0, 0), 0), 6) == expected


def test_the_same_image_is_augmented_anew_in_each_epoch():
    loader = seeded_loader(plain_loader(DefaultSampler), (0, 0), 0)
    first, second = samples(loader, 3), samples(loader, 3)
    assert torch.equal(first[:, 0], second[:, 0])
    assert not (first[:, 1:] == second[:, 1:]).any()


def test_ranks_augment_differently():
    first, second = (
        samples(seeded_loader(plain_loader(DefaultSampler), (0, rank), 0), 3) for rank in (0, 1)
    )
    assert not (first[:, 1:] == second[:, 1:]).any()


@pytest.mark.parametrize('at_once', [False, True])
def test_batches_that_were_trained_on_are_dropped_without_being_loaded(at_once):
    loader = endless_seeded_loader(plain_loader(InfiniteSampler), (0, 0), 2)
    batches = ResumedBatches(loader, trained=2)
    if at_once:
        batches.skip_iter(2)
    else:
        assert [next(batches), next(batches)] == [None, None]
    whole = endless_seeded_loader(plain_loader(InfiniteSampler), (0, 0), 0)
    assert torch.equal(torch.stack(next(batches)['x']), samples(whole, 3)[-4:])
