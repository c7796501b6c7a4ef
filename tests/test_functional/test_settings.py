import math

import numpy as np
import pytest
import torch

from mmseg_rmi.functional import RMISettings, rmi_loss
from mmseg_rmi.functional.scales import as_factors


@pytest.mark.parametrize(
    ('settings', 'error', 'message'),
    [
        (dict(region_size=0), ValueError, 'region_size must be from 1 to 10, got 0'),
        (dict(region_size=11), ValueError, 'region_size must be from 1 to 10, got 11'),
        (dict(region_size=3.0), TypeError, r'region_size must be an integer, got 3\.0'),
        (dict(region_size=True), TypeError, 'region_size must be an integer, got True'),
        (
            dict(downsample='mean'),
            ValueError,
            "downsample must be one of 'avg', 'max', 'interp', got 'mean'",
        ),
        (dict(downsample_factor=0), ValueError, 'downsample_factor must be from 1 to 4096, got 0'),
        (dict(downsample_factor='4'), TypeError, "downsample_factor must be an integer, got '4'"),
        (dict(loss_lambda=-0.1), ValueError, r'loss_lambda must lie in \[0, 1\], got -0\.1'),
        (dict(loss_lambda=1.5), ValueError, r'loss_lambda must lie in \[0, 1\], got 1\.5'),
        (dict(loss_lambda=math.nan), ValueError, 'loss_lambda must be finite, got nan'),
        (dict(loss_lambda='0.5'), TypeError, r"loss_lambda must be a number, got '0\.5'"),
        (
            dict(covariance='expectation'),
            ValueError,
            "covariance must be one of 'sum', 'mean', 'relative', got 'expectation'",
        ),
        (dict(ridge=0), ValueError, 'ridge must be greater than 0, got 0'),
        (dict(ridge=-1e-6), ValueError, 'ridge must be greater than 0, got -1e-06'),
        (dict(ridge=math.inf), ValueError, 'ridge must be finite, got inf'),
        (dict(ridge=None), TypeError, 'ridge must be a number, got None'),
        (dict(ignored='drop'), ValueError, "ignored must be one of 'zero', 'exclude', got 'drop'"),
        (
            dict(ignored='exclude', downsample='interp'),
            ValueError,
            "ignored='exclude' needs cells .* use downsample='avg' or 'max', or ignored='zero'",
        ),
        (dict(nonnegative=1), TypeError, 'nonnegative must be True or False, got 1'),
        (dict(pixel_term='dice'), ValueError, "pixel_term must be one of 'bce', 'ce', got 'dice'"),
        (
            dict(activation='relu'),
            ValueError,
            "activation must be one of 'sigmoid', 'softmax', got 'relu'",
        ),
    ],
)
def test_wrong_constant_is_named_with_its_value(settings, error, message):
    with pytest.raises(error, match=message):
        RMISettings(**settings)


def test_defaults_are_those_of_the_released_code():
    settings = RMISettings()
    assert (settings.region_size, settings.dimension) == (3, 9)
    assert (settings.downsample, settings.downsample_factor) == ('avg', 4)
    assert (settings.loss_lambda, settings.covariance, settings.ridge) == (0.5, 'sum', 5e-4)
    assert (settings.ignored, settings.nonnegative) == ('zero', True)


def test_floor_is_half_the_logarithm_of_the_ridge():
    assert RMISettings().floor == pytest.approx(-3.8004512, abs=1e-7)  # 1/2 log 5e-4


def test_integers_of_numpy_are_integers():
    settings = RMISettings(region_size=np.int64(2), downsample_factor=np.int64(2))
    logits, labels = torch.zeros(1, 2, 12, 12), torch.zeros(1, 12, 12, dtype=torch.long)
    assert rmi_loss(logits, labels, settings).isfinite()
    assert [type(each) for each in as_factors([np.int32(2), 4])] == [int, int]
