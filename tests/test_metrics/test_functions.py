"""The metrics as functions of tensors: the values of the registered ones, on maps of any size."""

import pytest
import torch

from helpers.batches import make_batch
from helpers.label_maps import CLASSES, blobs, evaluate, sample
from helpers.scores import region_scores as scores_step_by_step
from mmseg_rmi.functional import RMISettings
from mmseg_rmi.metrics import boundary_iou, region_scores, trimap_iou

MAPS = [blobs(seed, height=15 + seed) for seed in range(4)]
PREDICTIONS, LABELS = ([torch.as_tensor(maps[i]) for maps in MAPS] for i in (0, 1))


def test_boundary_iou_is_that_of_the_registered_metric() -> None:
    found = boundary_iou(PREDICTIONS, LABELS, 3, dilation_ratio=0.05)
    expected = evaluate(
        dict(type='BoundaryIoUMetric', dilation_ratio=0.05), [sample(*maps) for maps in MAPS]
    )
    assert [expected[f'boundary/IoU.{name}'] for name in CLASSES] == pytest.approx(
        100 * found.numpy()
    )


def test_trimap_iou_is_that_of_the_registered_metric() -> None:
    found = trimap_iou(PREDICTIONS, LABELS, 3, widths=(1, 3)).nanmean(dim=1)
    expected = evaluate(
        dict(type='TrimapIoUMetric', widths=(1, 3)), [sample(*maps) for maps in MAPS]
    )
    assert list(expected.values()) == pytest.approx(100 * found.numpy())


def test_region_scores_are_those_of_the_steps() -> None:
    logits, labels = make_batch(seed=3, images=2, classes=3, height=40, width=33)
    settings = RMISettings(downsample_factor=2)
    found = region_scores(logits.sigmoid(), labels, settings)
    torch.testing.assert_close(found, scores_step_by_step(logits, labels, settings).double())


def test_batch_and_list_score_alike() -> None:
    labels = torch.stack([torch.as_tensor(blobs(seed)[1]) for seed in range(3)])
    predictions = torch.stack([torch.as_tensor(blobs(seed)[0]) for seed in range(3)])
    for metric in (boundary_iou, trimap_iou):
        of_batch, of_list = (
            metric(predictions, labels, 3),
            metric(list(predictions.to(torch.uint8)), list(labels.to(torch.uint8)), 3),
        )
        assert torch.equal(of_batch, of_list)


@pytest.mark.parametrize(
    ('prediction', 'label', 'message'),
    [
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8), 'take the argmax over channels first'),
        (torch.zeros(1, 4, 4), torch.zeros(1, 8, 8), r'predictions are \(4, 4\) where labels are'),
        (torch.zeros(1, 8, 8), torch.full([1, 8, 8], 7), 'labels hold 7: expected 0 to 2 or'),
        (torch.full([1, 8, 8], 3), torch.zeros(1, 8, 8), 'predictions hold 3: expected 0 to 2'),
        (torch.full([1, 8, 8], 255), torch.eye(8)[None], 'predictions hold 255 where labels are'),
        (torch.zeros(2, 8, 8), torch.zeros(1, 8, 8), 'must be equally many'),
        ([], [], 'hold no map to score'),
    ],
)
def test_maps_that_do_not_fit_are_refused(prediction, label, message: str) -> None:
    prediction, label = (
        x.long() if isinstance(x, torch.Tensor) else x for x in (prediction, label)
    )
    for metric in (boundary_iou, trimap_iou):
        with pytest.raises(ValueError, match=message):
            metric(prediction, label, len(CLASSES))


@pytest.mark.parametrize(
    ('wrong', 'error', 'message'),
    [
        (lambda p: list(p), TypeError, 'probabilities must be a tensor B x C x H x W, got list'),
        (lambda p: p[:, 0], ValueError, r'probabilities must be B x C x H x W, got shape \(2, 20'),
        (lambda p: p[..., None], ValueError, r'pass on slices \(probabilities\.transpose'),
        (lambda p: p[:0], ValueError, r'probabilities of shape \(0, 3, 20, 24\) are empty'),
        (lambda p: p.long(), TypeError, r'got torch\.int64: use probabilities\.float\(\)'),
        (lambda p: p.to_sparse(), TypeError, 'probabilities must be a dense tensor'),
        (lambda p: p[..., 1:], ValueError, r'like the probabilities \(2, 3, 20, 23\)'),
        (
            lambda p: p.to('meta'),
            ValueError,
            'labels.device is cpu, that of the probabilities meta',
        ),
    ],
)
def test_wrong_probabilities_are_named(wrong, error, message: str) -> None:
    logits, labels = make_batch(height=20, width=24)
    with pytest.raises(error, match=message) as told:
        region_scores(wrong(logits.sigmoid()), labels)
    assert 'logits' not in str(told.value)


def test_probabilities_too_small_for_a_region_are_refused() -> None:
    logits, labels = make_batch(height=7, width=7)
    with pytest.raises(ValueError, match=r'map of 2 x 2 \(full size 7 x 7'):
        region_scores(logits.sigmoid(), labels)
