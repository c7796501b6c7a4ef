"""A network of one channel that learns the inverse of its labels is told of, once."""

import copy
import warnings

import pytest
import torch

from mmseg_rmi.losses import RMILoss
from mmseg_rmi.losses.inverse_map_watch import BATCHES, InverseMapWatch

LABELS = torch.zeros(2, 16, 16, dtype=torch.long)
LABELS[:, 4:12, 4:12] = 1
INVERSE = -1.0 - 2 * LABELS[:, None].float()  # below the threshold everywhere
TRUTH = -3.0 + 2 * LABELS[:, None].float()


def watch_batches(watch, maps, labels=LABELS, ignore_index=255):
    for logits in maps:
        watch.see(logits, labels, ignore_index)


def streamed(loss):
    return lambda logits, labels: loss.stream(logits, labels, align_corners=False).total


def call_often(loss, times):
    for _ in range(times):
        loss(INVERSE, LABELS)


@pytest.mark.parametrize('wrap', [lambda loss: loss, streamed], ids=['forward', 'streamed'])
def test_an_inverse_map_is_told_with_the_mend_and_once(wrap):
    loss = RMILoss(downsample_factor=2)
    loss.map_watch = InverseMapWatch(batches=4)
    call = wrap(loss)
    with pytest.warns(
        UserWarning, match=r'After 4 batches.* 0\.05 .* 0\.27 .*RegionTermWarmUpHook'
    ):
        call_often(call, 4)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for _ in range(4):
            call(INVERSE, LABELS)


def test_a_loss_looks_at_two_hundred_batches():
    assert RMILoss().map_watch.batches_left == BATCHES == 200


@pytest.mark.parametrize(
    'maps',
    [
        [TRUTH] * 4,
        [INVERSE] * 2 + [TRUTH] * 2,  # the first half is not looked at
        [0.1 * INVERSE] * 4,  # nearly untrained
        [INVERSE.expand(2, 2, 16, 16)] * 4,  # predicted by argmax
        [torch.full_like(INVERSE, float('nan'))] * 4,
    ],
    ids=['truth', 'mended', 'untrained', 'two channels', 'nan'],
)
def test_other_maps_are_left_in_peace(maps):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        watch_batches(InverseMapWatch(batches=4), maps)


@pytest.mark.parametrize('label', [0, 1, 255])
def test_labels_of_one_kind_tell_nothing(label):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        watch_batches(InverseMapWatch(batches=2), [INVERSE] * 2, torch.full_like(LABELS, label))


def test_ignored_pixels_do_not_count():
    labels = LABELS.clone()
    labels[:, :4] = 255
    logits = INVERSE.clone()
    logits[:, :, :4] = 50.0  # would make the background the higher one by far
    with pytest.warns(UserWarning, match=r'0\.05 .* 0\.27'):
        watch_batches(InverseMapWatch(batches=2), [logits] * 2, labels)


def test_logits_of_a_lower_resolution_are_set_beside_their_labels():
    with pytest.warns(UserWarning, match=r'0\.05 .* 0\.27'):
        watch_batches(InverseMapWatch(batches=2), [INVERSE[:, :, ::4, ::4]] * 2)


def test_batches_that_do_not_train_do_not_count():
    watch = InverseMapWatch(batches=2)
    with torch.no_grad():
        watch_batches(watch, [INVERSE] * 2)
    watch.see(INVERSE.to('meta'), LABELS.to('meta'), 255)
    torch.func.vmap(lambda logits: (watch.see(logits, LABELS, 255), logits)[1])(INVERSE[None])
    assert watch.batches_left == 2


def test_the_host_reads_once(host_reads):
    watch = InverseMapWatch(batches=4)
    for expected in (0, 0, 0, 1, 1, 1):
        watch.see(TRUTH, LABELS, 255)
        assert len(host_reads) == expected


def test_a_loss_that_has_seen_batches_can_be_copied():
    loss = RMILoss(downsample_factor=2)
    loss.map_watch = InverseMapWatch(batches=4)
    logits = TRUTH.clone().requires_grad_()
    for _ in range(3):
        loss(logits, LABELS)
    assert copy.deepcopy(loss).map_watch.batches_left == 1
