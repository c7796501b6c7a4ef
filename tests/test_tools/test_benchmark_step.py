"""The speed of a step, on a network of a few weights."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from tool_runs import TINY, config, load_tool

benchmark = load_tool('analysis/benchmark_step.py')


@pytest.fixture
def cfg():
    cfg = Config.fromfile(config('rmi'))
    cfg.merge_from_dict({key: int(value) for key, value in (pair.split('=') for pair in TINY)})
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


def test_steps_that_warm_up_are_not_counted(monkeypatch):
    taken = []
    assert len(benchmark.time_step(lambda: taken.append(1), 3)) == 3
    assert len(taken) == 3 + benchmark.WARM_UP
