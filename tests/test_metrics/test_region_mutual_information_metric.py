"""Region scores against the oracle of the objective."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmseg.models import BaseSegmentor

from helpers import oracle
from helpers.label_maps import CLASSES, blobs, evaluate, sample
from mmseg_rmi.metrics import RegionMutualInformationMetric


def logits_of(labels: np.ndarray, seed: int, contrast: float = 2.0) -> np.ndarray:
    """Noisy logits, highest where the label map says."""
    noise = np.random.default_rng(seed).normal(size=(len(CLASSES), *labels.shape))
    return noise + contrast * (labels == np.arange(len(CLASSES))[:, None, None])


def make_sample(seed: int, **more) -> dict:
    prediction, truth = blobs(seed, height=25, width=30)
    logits = torch.tensor(logits_of(prediction, seed))
    return sample(prediction, truth, seg_logits={'data': logits}, **more)


SAMPLES = [make_sample(seed) for seed in range(3)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=0)


def score(truth, probability, label, **settings) -> float:
    """Of one image and class: bits explained over bits that the truth itself explains."""
    settings = {'region_size': 3, 'downsample': 'avg', 'downsample_factor': 4} | settings
    ridge, covariance = settings.get('ridge', 5e-4), settings.get('covariance', 'sum')
    valid = truth != 255
    y, p = ((truth == label) & valid).astype(float), probability * valid
    cells = oracle.Cells(settings['downsample'], settings['downsample_factor'], truth.shape)
    size = settings['region_size']
    kept = oracle.kept_regions(cells, valid, size, settings.get('ignored', 'zero'))
    of_truth = oracle.regions(cells.of_truth(y), size)[:, kept]
    of_prediction = oracle.regions(cells.of_probability(p), size)[:, kept]
    if np.ptp(of_truth) == 0:
        return math.nan
    nothing, said, everything = (
        oracle.lower_bound(of_truth, points, ridge, covariance)
        for points in (0 * of_truth, of_prediction, of_truth)
    )
    return min(max((said - nothing) / (everything - nothing), 0), 1)


def expected_scores(samples: list[dict], activation, **settings) -> np.ndarray:
    return np.nanmean(
        [
            [
                100 * score(one['gt_sem_seg']['data'][0].numpy(), probability, label, **settings)
                for label, probability in enumerate(activation(one['seg_logits']['data'].numpy()))
            ]
            for one in samples
        ],
        axis=0,
    )


@pytest.mark.parametrize(
    'settings',
    [
        {},
        dict(region_size=2, downsample='max', downsample_factor=3),
        dict(downsample='interp', downsample_factor=2, covariance='mean', ridge=1e-3),
        dict(downsample_factor=1, region_size=2, ignored='exclude'),
    ],
    ids=str,
)
@pytest.mark.parametrize('activation', [sigmoid, softmax])
def test_scores_are_those_of_the_oracle(settings, activation):
    metric = dict(type='RegionMutualInformationMetric', activation=activation.__name__, **settings)
    found = evaluate(metric, SAMPLES)
    expected = expected_scores(SAMPLES, activation, **settings)
    assert [found[f'rmi/score.{name}'] for name in CLASSES] == pytest.approx(expected, rel=1e-5)
    assert found['rmi/score'] == pytest.approx(expected.mean(), rel=1e-5)


def test_truth_scores_100_and_a_constant_0():
    truth = SAMPLES[0]['gt_sem_seg']['data'][0].numpy()
    metric = dict(type='RegionMutualInformationMetric', activation='sigmoid', ignored='exclude')
    metric |= dict(downsample_factor=1)  # no padding by which a constant would vary
    for logits, expected in [(logits_of(truth, 0, 1e4) * 1e3 - 5e6, 100), (np.zeros(3), 0)]:
        logits = np.broadcast_to(logits.reshape(3, *logits.shape[1:] or (1, 1)), (3, *truth.shape))
        one = sample(truth, truth, seg_logits={'data': torch.tensor(logits)})
        assert evaluate(metric, [one])['rmi/score'] == pytest.approx(expected, abs=1e-6)


def test_a_class_counts_in_the_images_that_hold_it_alone():
    metric = dict(type='RegionMutualInformationMetric', activation='sigmoid')
    without = sample(*np.zeros((2, 25, 30), int), seg_logits=SAMPLES[1]['seg_logits'])
    both, one = evaluate(metric, [SAMPLES[2], without]), evaluate(metric, [SAMPLES[2]])
    for name in ('road', 'pole'):
        assert both[f'rmi/score.{name}'] == one[f'rmi/score.{name}'] > 0
    alone = evaluate(metric, [without])
    assert math.isnan(alone['rmi/score.pole'])
    assert alone['rmi/score'] == alone['rmi/score.sky']


@pytest.mark.parametrize('activation', ['sigmoid', 'softmax'])
def test_one_channel_is_the_probability_of_label_one(activation):
    """MMSegmentation itself takes the sigmoid of one channel, and hands that on as seg_logits."""
    prediction, truth = blobs(seed=3, height=25, width=30)
    truth, logits = (
        np.where(truth == 2, 0, truth),
        torch.tensor(logits_of(prediction, 3)[None, 1:2]),
    )
    segmentor = SimpleNamespace(align_corners=False, decode_head=SimpleNamespace(threshold=0.3))
    (handed_on,) = BaseSegmentor.postprocess_result(segmentor, logits)
    one = sample(prediction, truth, **handed_on.to_dict())
    metric = dict(type='RegionMutualInformationMetric', activation=activation)
    found = evaluate(metric, [one], classes=('background', 'vessel'))
    expected = 100 * score(truth, sigmoid(logits[0, 0].numpy()), 1)
    assert found == pytest.approx({'rmi/score': expected, 'rmi/score.vessel': expected}, rel=1e-5)


def test_an_image_smaller_than_its_regions_is_refused():
    one = sample(*np.zeros((2, 5, 5), int), seg_logits={'data': torch.zeros(3, 5, 5)})
    metric = dict(type='RegionMutualInformationMetric', activation='sigmoid')
    with pytest.raises(ValueError, match='region_size=3 is larger than the downsampled map'):
        evaluate(metric, [one])


@pytest.mark.parametrize('maps', [1, 2, 4])
def test_a_model_of_other_classes_than_the_data_is_refused(maps):
    one = sample(*np.zeros((2, 25, 30), int), seg_logits={'data': torch.zeros(maps, 25, 30)})
    metric = dict(type='RegionMutualInformationMetric', activation='sigmoid')
    with pytest.raises(
        ValueError, match=f'the model predicts {maps} maps, but the data set has 3 classes'
    ):
        evaluate(metric, [one])


def test_an_activation_must_be_chosen():
    with pytest.raises(
        ValueError, match="activation must be one of 'sigmoid', 'softmax', got 'relu'"
    ):
        RegionMutualInformationMetric(activation='relu')
