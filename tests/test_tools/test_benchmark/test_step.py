"""The speed of a step, on a network of a few weights."""

import sys

import mmcv.transforms
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from helpers.tool_runs import TINY, config
from tools.benchmark import step as benchmark


@pytest.fixture
def cfg():
    cfg = Config.fromfile(config('rmi'))
    cfg.merge_from_dict(TINY)
    cfg.launcher = 'none'
    init_default_scope('mmseg')
    benchmark.launch.fall_back_to_cpu(cfg)
    return cfg


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('bfloat16', [False, True])
def test_step_trains(cfg, monkeypatch, channels_last, bfloat16):
    built = []
    build = benchmark.MODELS.build

    def remember(config):
        built.append(build(config))
        return built[-1]

    monkeypatch.setattr(benchmark.MODELS, 'build', remember)
    step = benchmark.make_step(cfg, channels_last, bfloat16)
    before = [parameter.clone() for parameter in built[0].parameters()]
    step()
    assert not all(map(torch.equal, before, built[0].parameters()))


def test_a_batch_is_read_and_then_augmented(cfg, scenes, monkeypatch):
    seen = []

    def remember(transform):
        def call(self, results):
            seen.append((type(self).__name__, results['img_path']))
            return transform(self, results)

        return call

    loader = cfg.train_dataloader
    loader.dataset.data_root = str(scenes)
    for kind in (mmcv.transforms.LoadImageFromFile, mmcv.transforms.RandomFlip):
        monkeypatch.setattr(kind, 'transform', remember(kind.transform))
    read, rest = benchmark.time_loading(cfg, 3)
    assert len(read) == len(rest) == 3
    assert min(read + rest) > 0
    batches = 3 + benchmark.WARM_UP
    each = ['LoadImageFromFile'] * loader.batch_size + ['RandomFlip'] * loader.batch_size
    assert [name for name, _ in seen] == each * batches
    assert len({path for _, path in seen}) == 12  # all scenes, in turn


def test_every_way_is_timed_and_so_is_loading(cfg, scenes, tmp_path, monkeypatch, capsys):
    cfg.dump(tmp_path / 'tiny.py')
    options = ['--threads', '1', '--iterations', '1', '--data-root', str(scenes)]
    monkeypatch.setattr(sys, 'argv', ['step', str(tmp_path / 'tiny.py'), *options])
    benchmark.main()
    said = capsys.readouterr().out
    assert (said.count('channels last'), said.count('bfloat16')) == (2, 2)
    assert 'read and decode' in said


def test_steps_that_warm_up_are_not_counted(monkeypatch):
    taken = []
    assert len(benchmark.time_step(lambda: taken.append(1), 3)) == 3
    assert len(taken) == 3 + benchmark.WARM_UP
