"""What the options of train.py and test.py do to a config."""

import pytest
from mmengine.config import Config
from mmengine.hooks import LoggerHook
from mmengine.optim import OptimWrapper

from helpers.tool_runs import load_tool

train, evaluate = load_tool('train.py'), load_tool('test.py')


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(train, 'get_device', lambda: 'cuda')


def test_amp_scales_the_loss_dynamically(gpu):
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper', clip_grad=None)))
    train.use_mixed_precision(cfg)
    assert cfg.optim_wrapper.to_dict() == dict(
        type='AmpOptimWrapper', clip_grad=None, loss_scale='dynamic'
    )


@pytest.mark.parametrize('kind', ['mmengine.OptimWrapper', OptimWrapper])
def test_amp_knows_the_wrapper_by_any_name(gpu, kind):
    cfg = Config(dict(optim_wrapper=dict(type=kind)))
    train.use_mixed_precision(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'


def test_amp_keeps_the_scale_that_the_config_chose(gpu):
    cfg = Config(dict(optim_wrapper=dict(type='AmpOptimWrapper', loss_scale=512.0)))
    train.use_mixed_precision(cfg)
    assert cfg.optim_wrapper.loss_scale == 512.0


def test_amp_with_another_optimizer_wrapper_is_refused(gpu):
    cfg = Config(dict(optim_wrapper=dict(type='ApexOptimWrapper')))
    with pytest.raises(ValueError, match='--amp works with OptimWrapper alone'):
        train.use_mixed_precision(cfg)


def test_amp_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(train, 'get_device', lambda: 'cpu')
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    with pytest.raises(ValueError, match='--amp needs a GPU and none was found'):
        train.use_mixed_precision(cfg)


def test_folders_may_be_below_home(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    command = ['test.py', 'config.py', 'weights.pth', '--out=~/labels', '--show-dir=~/painted']
    monkeypatch.setattr('sys.argv', command)
    arguments = evaluate.parse_args()
    assert str(arguments.out) == '/home/me/labels'
    assert str(arguments.show_dir) == '/home/me/painted'


@pytest.mark.parametrize('several', [False, True])
def test_every_evaluator_saves_predictions(tmp_path, several):
    evaluator = dict(type='IoUMetric')
    cfg = Config(dict(test_evaluator=[evaluator, dict(evaluator)] if several else evaluator))
    evaluate.save_predictions(cfg, tmp_path / 'a' / 'b')
    evaluators = cfg.test_evaluator if several else [cfg.test_evaluator]
    assert [e.output_dir for e in evaluators] == [str(tmp_path / 'a' / 'b')] * (1 + several)
    assert (tmp_path / 'a' / 'b').is_dir()


def test_only_evaluators_that_can_save_are_asked_to(tmp_path):
    types = ['BoundaryIoUMetric', 'ClasswiseIoUMetric', 'CityscapesMetric']
    cfg = Config(dict(test_evaluator=[dict(type=name) for name in types]))
    evaluate.save_predictions(cfg, tmp_path)
    assert [e.get('output_dir') for e in cfg.test_evaluator] == [None, str(tmp_path), str(tmp_path)]


def test_saving_without_an_evaluator_that_can_is_refused(tmp_path):
    cfg = Config(dict(test_evaluator=dict(type='TrimapIoUMetric')))
    with pytest.raises(ValueError, match=r'needs an evaluator that writes .* has TrimapIoUMetric'):
        evaluate.save_predictions(cfg, tmp_path)


def test_painting_goes_to_the_screen_and_the_folder():
    cfg = Config(
        dict(
            default_hooks=dict(visualization=dict(type='SegVisualizationHook')),
            visualizer=dict(type='SegLocalVisualizer'),
        )
    )
    evaluate.paint_predictions(cfg, show=True, wait_time=0.5, folder='painted')
    hook = cfg.default_hooks.visualization
    assert (hook.draw, hook.interval, hook.show, hook.wait_time) == (True, 1, True, 0.5)
    assert cfg.visualizer.save_dir == 'painted'


def test_painting_without_a_hook_is_refused():
    with pytest.raises(ValueError, match="add default_hooks=dict\\(visualization=dict\\(type='Seg"):
        evaluate.paint_predictions(Config(dict(default_hooks=dict())), True, 0, None)


def test_augmentation_without_a_pipeline_is_refused():
    cfg = Config(dict(model=dict(type='A'), tta_model=dict(type='B')))
    with pytest.raises(ValueError, match='--tta needs tta_pipeline, which the config does not def'):
        evaluate.augment(cfg)


def test_augmentation_wraps_the_model():
    cfg = Config(
        dict(
            model=dict(type='A'),
            tta_model=dict(type='B'),
            tta_pipeline=[dict(type='C')],
            test_dataloader=dict(dataset=dict(pipeline=[])),
        )
    )
    evaluate.augment(cfg)
    assert cfg.model.to_dict() == dict(type='B', module=dict(type='A'))
    assert cfg.test_dataloader.dataset.pipeline == [dict(type='C')]


@pytest.mark.parametrize('logger', [dict(type='LoggerHook', interval=5), dict(type=LoggerHook)])
def test_one_process_writes_the_scores(logger):
    cfg = Config(dict(default_hooks=dict(logger=logger)))
    evaluate.write_scores_once(cfg)
    assert cfg.default_hooks.logger == {**logger, 'type': 'mmseg.MainProcessLoggerHook'}


@pytest.mark.parametrize('hooks', [{}, dict(default_hooks=dict(timer=dict(type='TimerHook')))])
def test_one_process_writes_the_scores_of_a_config_that_names_no_logger(hooks):
    cfg = Config(hooks)
    evaluate.write_scores_once(cfg)
    assert cfg.default_hooks.logger.type == 'mmseg.MainProcessLoggerHook'


@pytest.mark.parametrize('logger', [None, dict(type='ClusterLoggerHook')])
def test_another_logger_or_none_stays(logger):
    cfg = Config(dict(default_hooks=dict(logger=logger)))
    evaluate.write_scores_once(cfg)
    assert cfg.default_hooks.logger == logger
