"""What metrics refuse to score."""

import numpy as np
import pytest
import torch

from helpers.label_maps import evaluate, sample

METRICS = [
    dict(type='BoundaryIoUMetric'),
    dict(type='TrimapIoUMetric'),
    dict(type='RegionMutualInformationMetric', activation='sigmoid'),
]
TRUTH = np.zeros((20, 20), int)


def scored(truth=TRUTH, prediction=TRUTH, path='images/street.jpg') -> dict:
    logits = torch.zeros(3, *prediction.shape)
    return sample(prediction, truth, seg_logits={'data': logits}, img_path=path)


@pytest.mark.parametrize('metric', METRICS, ids=lambda metric: metric['type'])
class TestEveryMetric:
    def test_refuses_labels_that_are_no_class(self, metric):
        with pytest.raises(
            ValueError, match=r'labels of images/street\.jpg hold 3: expected 0 to 2'
        ):
            evaluate(metric, [scored(truth=TRUTH + 3)])

    def test_takes_any_label_to_ignore(self, metric):
        truth = np.where(np.eye(20) > 0, 7, TRUTH)
        assert evaluate(metric | dict(ignore_index=7), [scored(truth=truth)])

    def test_refuses_predictions_of_another_size(self, metric):
        with pytest.raises(ValueError, match=r'street\.jpg is \(10, 20\), its true label map'):
            evaluate(metric, [scored(prediction=TRUTH[:10])])

    def test_refuses_images_without_a_truth(self, metric):
        one = scored()
        del one['gt_sem_seg']
        with pytest.raises(ValueError, match=r'street\.jpg has no true label map'):
            evaluate(metric, [one])

    def test_refuses_what_the_model_does_not_say(self, metric):
        one = scored()
        del one['seg_logits'], one['pred_sem_seg']
        with pytest.raises(ValueError, match=r"street\.jpg has no '\w+': the model returns"):
            evaluate(metric, [one])


@pytest.mark.parametrize('metric', METRICS[:2], ids=lambda metric: metric['type'])
def test_predictions_that_are_no_class_are_refused(metric):
    with pytest.raises(
        ValueError, match='the model predicts class 5, but the data set has classes 0 to 2'
    ):
        evaluate(metric, [scored(prediction=TRUTH + 5)])
