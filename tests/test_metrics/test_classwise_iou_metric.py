"""Values per class beside mmseg's means."""

import math

import pytest
import torch
from mmengine.evaluator import Evaluator

from mmseg_rmi.metrics import ClasswiseIoUMetric

CLASSES = ('sky', 'road', 'sign symbol', 'fence')


def sample(prediction, truth) -> dict:
    return {
        'pred_sem_seg': {'data': torch.tensor([prediction])},
        'gt_sem_seg': {'data': torch.tensor([truth])},
    }


SAMPLES = [
    sample([[0, 1, 1], [2, 1, 1]], [[0, 0, 1], [1, 1, 255]]),
    sample([[1, 1], [1, 1]], [[1, 1], [1, 2]]),
]


def evaluate(samples=SAMPLES, **arguments) -> dict:
    evaluator = Evaluator(dict(type='ClasswiseIoUMetric', **arguments))
    evaluator.dataset_meta = dict(classes=CLASSES)
    for one in samples:
        evaluator.process([one])
    return evaluator.evaluate(len(samples))


@pytest.fixture(autouse=True)
def scope(mmseg_scope):
    """Names of metrics are mmseg's."""


def test_each_class_has_the_iou_counted_by_hand():
    results = evaluate()
    assert results['IoU.sky'] == 50.0  # 1 hit, 1 miss
    assert results['IoU.road'] == 62.5  # 5 hits, 1 miss, 2 false alarms
    assert results['IoU.sign symbol'] == 0.0  # 1 miss, 1 false alarm
    assert math.isnan(results['IoU.fence'])  # nowhere


def test_the_means_are_those_of_mmseg():
    results = evaluate()
    assert results['mIoU'] == pytest.approx((50 + 62.5 + 0) / 3, abs=0.01)
    assert results['aAcc'] == pytest.approx(100 * 6 / 9, abs=0.01)


def test_each_metric_asked_for_is_returned_by_class():
    results = evaluate(iou_metrics=['mDice', 'mFscore'])
    assert results['Dice.road'] == pytest.approx(100 * 10 / 13, abs=0.01)
    assert results['Fscore.sky'] == pytest.approx(100 * 2 / 3, abs=0.01)
    assert 'IoU.road' not in results
    assert evaluate(iou_metrics='mIoU') == pytest.approx(evaluate(), nan_ok=True)


def test_predictions_alone_are_written_without_values(tmp_path):
    metric = ClasswiseIoUMetric(format_only=True, output_dir=str(tmp_path))
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, [{**SAMPLES[0], 'img_path': 'folder/street.jpg'}])
    assert metric.evaluate(1) == {}
    assert (tmp_path / 'street.png').is_file()


def test_a_prefix_stands_before_every_key():
    assert evaluate(prefix='val')['val/IoU.sky'] == 50.0
