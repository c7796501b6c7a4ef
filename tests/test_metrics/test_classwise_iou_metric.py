"""Values per class beside mmseg's means."""

import math

import pytest

from helpers.label_maps import evaluate, sample
from mmseg_rmi.metrics import ClasswiseIoUMetric

CLASSES = ('sky', 'road', 'sign symbol', 'fence')
SAMPLES = [
    sample([[0, 1, 1], [2, 1, 1]], [[0, 0, 1], [1, 1, 255]]),
    sample([[1, 1], [1, 1]], [[1, 1], [1, 2]]),
]


def results(**arguments) -> dict:
    return evaluate(dict(type='ClasswiseIoUMetric', **arguments), SAMPLES, CLASSES)


def test_each_class_has_the_iou_counted_by_hand():
    found = results()
    assert found['IoU.sky'] == 50.0  # 1 hit, 1 miss
    assert found['IoU.road'] == 62.5  # 5 hits, 1 miss, 2 false alarms
    assert found['IoU.sign symbol'] == 0.0  # 1 miss, 1 false alarm
    assert math.isnan(found['IoU.fence'])  # nowhere


def test_the_means_are_those_of_mmseg():
    found = results()
    assert found['mIoU'] == pytest.approx((50 + 62.5 + 0) / 3, abs=0.01)
    assert found['aAcc'] == pytest.approx(100 * 6 / 9, abs=0.01)


def test_each_metric_asked_for_is_returned_by_class():
    found = results(iou_metrics=['mDice', 'mFscore'])
    assert found['Dice.road'] == pytest.approx(100 * 10 / 13, abs=0.01)
    assert found['Fscore.sky'] == pytest.approx(100 * 2 / 3, abs=0.01)
    assert 'IoU.road' not in found
    assert results(iou_metrics='mIoU') == pytest.approx(results(), nan_ok=True)


def test_predictions_alone_are_written_without_values(tmp_path):
    metric = ClasswiseIoUMetric(format_only=True, output_dir=str(tmp_path))
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, [{**SAMPLES[0], 'img_path': 'folder/street.jpg'}])
    assert metric.evaluate(1) == {}
    assert (tmp_path / 'street.png').is_file()


def test_labels_of_another_size_are_named():
    other = {**SAMPLES[0], 'gt_sem_seg': SAMPLES[1]['gt_sem_seg']}
    told = r'pred_sem_seg of .* is \(2, 3\), its true label map \(2, 2\): put LoadAnnotations after'
    with pytest.raises(ValueError, match=told):
        evaluate(dict(type='ClasswiseIoUMetric'), [other], CLASSES)


def test_a_prefix_stands_before_every_key():
    assert results(prefix='val')['val/IoU.sky'] == 50.0
