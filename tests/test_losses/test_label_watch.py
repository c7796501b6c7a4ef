"""A training whose labels say nothing is told of, once; any other is left in peace."""

import copy
import warnings

import pytest
import torch

from helpers.batches import make_batch
from mmseg_rmi.losses import AffinityFieldLoss, RMILoss, SigmoidCrossEntropyLoss
from mmseg_rmi.losses.label_watch import BATCHES, SingleLabelWatch


def stream(loss):
    return lambda logits, labels: loss.stream(logits, labels, align_corners=False).total


def binary_masks(foreground, images=1):
    labels = torch.zeros(images, 16, 16, dtype=torch.long)
    labels[:, 4:12, 4:12] = foreground
    return labels


def train(loss, labels, batches=BATCHES, classes=2):
    for _ in range(batches):
        loss(torch.zeros(len(labels), classes, 16, 16), labels)


@pytest.mark.parametrize(
    ('loss', 'classes'),
    [
        (RMILoss(), 1),
        (stream(RMILoss()), 1),
        (SigmoidCrossEntropyLoss(), 1),
        (AffinityFieldLoss(downsample_factor=2), 2),
    ],
    ids=['rmi', 'streamed', 'bce', 'affinity'],
)
def test_foreground_of_255_is_told_with_the_mend_and_once(loss, classes):
    expected = r'first 100 batches are all 0, and 25% .* ignored \(255\).* write it as 1'
    with pytest.warns(UserWarning, match=expected):
        train(loss, binary_masks(foreground=255), classes=classes)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        train(loss, binary_masks(foreground=255), classes=classes)


def test_batches_without_any_label_are_told():
    with pytest.warns(UserWarning, match='first 100 batches have no labels, and 100%'):
        train(RMILoss(), torch.full((1, 16, 16), 255))


@pytest.mark.parametrize('ignore_index', [None, 255])
def test_nothing_is_said_of_ignored_pixels_where_there_are_none(ignore_index):
    loss = RMILoss(ignore_index=ignore_index)
    with pytest.warns(UserWarning, match='are all 0. A constant .* learnt. tools/check_labels'):
        train(loss, binary_masks(foreground=0))


@pytest.mark.parametrize('last', [0, BATCHES - 1])
def test_a_second_label_in_any_batch_is_enough(last):
    loss = RMILoss()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for batch in range(BATCHES):
            train(loss, binary_masks(foreground=int(batch == last)), batches=1)


def test_validation_does_not_count():
    loss = RMILoss()
    with torch.no_grad():
        train(loss, binary_masks(foreground=255), batches=2)
    assert loss.label_watch.batches_left == BATCHES


def test_the_host_reads_once(host_reads):
    watch = SingleLabelWatch(batches=3)
    _, labels = make_batch()
    for expected in (0, 0, 2, 2, 2):
        watch.see(labels, ignore_index=255)
        assert len(host_reads) == expected


def test_any_other_read_would_have_been_counted(host_reads):
    values = torch.ones(2)
    assert (values.sum().item(), bool(values[0]), float(values[1])) == (2, True, 1)
    assert values.tolist() == [1, 1]
    assert host_reads == ['item', 'item', 'item', 'tolist']


def test_labels_without_values_are_passed_over():
    watch = SingleLabelWatch(batches=1)
    watch.see(torch.zeros(1, 4, 4, dtype=torch.long, device='meta'), ignore_index=255)
    assert watch.batches_left == 1


def test_a_loss_that_has_seen_batches_can_be_copied():
    loss = RMILoss()
    train(loss, binary_masks(foreground=1), batches=2)
    assert copy.deepcopy(loss).label_watch.batches_left == BATCHES - 2
