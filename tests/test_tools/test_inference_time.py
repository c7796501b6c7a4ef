"""Seconds per image, measured on drawn scenes."""

import importlib.util

import pytest
from mmengine.config import Config

from helpers.tool_runs import TINY, config, load_tool

timing = load_tool('analysis/inference_time.py')


@pytest.fixture
def cfg(scenes):
    cfg = Config.fromfile(config('ce'))
    cfg.merge_from_dict(TINY)
    cfg.test_dataloader.dataset.data_root = str(scenes)
    return cfg


def test_time_is_that_of_the_network(cfg, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(timing, '_now', lambda: float(next(clock)))
    assert timing.seconds_per_image(cfg, 1) == 1.0
    assert next(clock) == 2 * (1 + timing.WARM_UP)  # two looks at the clock per image


@pytest.mark.skipif(not importlib.util.find_spec('pydensecrf'), reason='pydensecrf is missing')
def test_time_includes_the_crf(cfg, monkeypatch):
    refined = []
    refine = timing.refine
    monkeypatch.setattr(timing, 'refine', lambda *given: refined.append(refine(*given)))
    cfg.test_cfg = dict(type='DenseCRFTestLoop', iterations=1)
    assert timing.seconds_per_image(cfg, 1) > 0
    assert [labels.shape for labels in refined] == [(1, 144, 192)] * (1 + timing.WARM_UP)


def test_too_few_images_are_refused(cfg):
    cfg.test_dataloader.dataset.indices = timing.WARM_UP
    with pytest.raises(ValueError, match='takes a data set of more than 3 images'):
        timing.seconds_per_image(cfg, 1)
