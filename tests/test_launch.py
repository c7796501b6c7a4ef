import argparse
import os
import signal
import sys
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mmseg_rmi import launch

CONFIG = """
model = dict(
    type='EncoderDecoder',
    backbone=dict(norm_cfg=dict(type='SyncBN', requires_grad=True)),
    heads=[dict(norm_cfg=dict(type='MMSyncBN')), dict(norm_cfg=dict(type='GN'))],
)
launcher = 'none'
"""


@pytest.fixture
def cfg() -> Config:
    return Config.fromstring(CONFIG, '.py')


@pytest.fixture
def started_groups(monkeypatch) -> list[str]:
    """Backends of the process groups that were started, none of them really."""
    backends: list[str] = []
    monkeypatch.setattr(
        launch.torch.distributed,
        'init_process_group',
        lambda backend, timeout: backends.append(backend),
    )
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.delenv(name, raising=False)
    return backends


def arguments(tmp_path, *line: str) -> argparse.Namespace:
    (tmp_path / 'my_config.py').write_text(CONFIG)
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    launch.add_common_arguments(parser)
    return parser.parse_args([str(tmp_path / 'my_config.py'), *line])


def test_the_work_dir_is_named_after_the_config(tmp_path):
    assert launch.read_config(arguments(tmp_path)).work_dir == 'work_dirs/my_config'


@pytest.mark.parametrize(
    ('line', 'work_dir'),
    [
        (['--cfg-options', 'work_dir=a'], 'a'),
        (['--work-dir', 'b'], 'b'),
        (['--work-dir', 'b', '--cfg-options', 'work_dir=a'], 'b'),
        (['--work-dir=', '--cfg-options', 'work_dir=a'], 'a'),
        (['--work-dir=~/b'], '/home/me/b'),
        (['--cfg-options', 'work_dir=~/a'], '/home/me/a'),
    ],
)
def test_the_command_line_decides_on_the_work_dir(tmp_path, monkeypatch, line, work_dir):
    monkeypatch.setenv('HOME', '/home/me')
    assert launch.read_config(arguments(tmp_path, *line)).work_dir == work_dir


@pytest.mark.parametrize(
    ('launcher', 'told'),
    [
        ('pytorch', 'RANK.* torchrun sets'),
        ('slurm', 'SLURM_PROCID.* srun'),
        ('mpi', 'OMPI_.* mpirun'),
    ],
)
def test_a_launcher_that_did_not_start_the_process_is_named(tmp_path, monkeypatch, launcher, told):
    for name in ('RANK', 'WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=f'--launcher {launcher} needs {told}'):
        launch.read_config(arguments(tmp_path, '--launcher', launcher))


def test_options_override_the_config(tmp_path):
    cfg = launch.read_config(
        arguments(tmp_path, '--cfg-options', 'model.backbone.depth=18', 'model.size=(2,3)')
    )
    assert cfg.model.backbone.depth == 18
    assert cfg.model.size == (2, 3)


def test_an_option_that_is_no_setting_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        arguments(tmp_path, '--cfg-options', 'model.dilations=(1,', '6)')
    assert (
        "argument --cfg-options: expected KEY=VALUE without blanks, got '6)'"
        in capsys.readouterr().err
    )


def test_without_a_gpu_plain_batch_normalisation_takes_the_place_of_synchronised(cfg):
    cfg.sync_bn = 'torch'
    notes = launch.fall_back_to_cpu(cfg)
    assert cfg.model.backbone.norm_cfg == dict(type='BN', requires_grad=True)
    assert [head.norm_cfg.type for head in cfg.model.heads] == ['BN', 'GN']
    assert cfg.sync_bn is None
    assert notes == ['No GPU: plain BN takes the place of SyncBN.', 'No GPU: sync_bn switched off.']


@pytest.mark.parametrize('kind', ['mmcv.SyncBN', 'SyncBatchNorm', torch.nn.SyncBatchNorm])
def test_synchronised_normalisation_is_known_by_any_name(kind):
    cfg = Config(dict(model=dict(norm_cfg=dict(type=kind)), launcher='none'))
    assert launch.fall_back_to_cpu(cfg) == ['No GPU: plain BN takes the place of SyncBN.']
    assert cfg.model.norm_cfg.type == 'BN'


def test_nothing_is_said_where_nothing_is_replaced():
    cfg = Config.fromstring("model = dict(norm_cfg=dict(type='BN'))\nlauncher = 'none'", '.py')
    before = cfg.to_dict()
    assert launch.fall_back_to_cpu(cfg) == []
    assert cfg.to_dict() == before


def test_with_a_gpu_the_config_stays_as_it_is(cfg, monkeypatch):
    built = []
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(launch.Runner, 'from_cfg', lambda cfg: built.append(cfg.to_dict()))
    launch.build_runner(cfg)
    assert built == [Config.fromstring(CONFIG, '.py').to_dict()]


def test_what_was_replaced_goes_to_the_log(cfg, monkeypatch):
    log: list[str] = []
    runner = SimpleNamespace(logger=SimpleNamespace(info=log.append))
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(launch.Runner, 'from_cfg', lambda cfg: runner)
    launch.build_runner(cfg)
    assert log == ['No GPU: plain BN takes the place of SyncBN.']


@pytest.mark.parametrize(('launcher', 'at_once'), [('pytorch', True), ('none', False)])
def test_a_signal_ends_a_process_that_others_wait_for_at_once(cfg, monkeypatch, launcher, at_once):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(launch.Runner, 'from_cfg', lambda cfg: None)
    cfg.launcher = launcher
    launch.build_runner(cfg)
    assert (signal.getsignal(signal.SIGINT) == signal.SIG_DFL) is at_once


def test_without_a_gpu_processes_talk_over_gloo(cfg, started_groups):
    cfg.launcher = 'pytorch'
    cfg.find_unused_parameters = True
    notes = launch.fall_back_to_cpu(cfg)
    assert started_groups == ['gloo']
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'
    assert cfg.model_wrapper_cfg.device_ids is None
    assert cfg.model_wrapper_cfg.find_unused_parameters is True
    assert 'No GPU: distributed over gloo on CPUs.' in notes


@pytest.mark.parametrize(
    ('launcher', 'names'),
    [
        ('slurm', ['SLURM_PROCID', 'SLURM_LOCALID', 'SLURM_NTASKS']),
        (
            'mpi',
            [
                'OMPI_COMM_WORLD_RANK',
                'OMPI_COMM_WORLD_LOCAL_RANK',
                'OMPI_COMM_WORLD_SIZE',
            ],
        ),
    ],
)
def test_every_launcher_says_who_is_who(cfg, started_groups, monkeypatch, launcher, names):
    for name, value in zip(names, ['3', '1', '4'], strict=True):
        monkeypatch.setenv(name, value)
    cfg.launcher = launcher
    launch.fall_back_to_cpu(cfg)
    assert [os.environ[name] for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE')] == ['3', '1', '4']


def test_several_nodes_without_gpus_must_know_the_first(cfg, started_groups, monkeypatch):
    for name, value in dict(PROCID='0', LOCALID='0', NTASKS='4', NNODES='2').items():
        monkeypatch.setenv(f'SLURM_{name}', value)
    cfg.launcher = 'slurm'
    with pytest.raises(ValueError, match='set MASTER_ADDR to the name of the first'):
        launch.fall_back_to_cpu(cfg)


@pytest.mark.parametrize(
    ('name', 'text', 'said'),
    [
        ('cut.py', 'model = dict(', 'SyntaxError'),
        ('cut.json', '{"model": ', 'JSONDecodeError'),
        ('list.json', '[1, 2]', 'AttributeError'),
        ('imports.py', "custom_imports = 'json'", 'TypeError'),
        ('name.py', "_base_ = 'cut.py'", 'SyntaxError'),
    ],
)
def test_a_config_that_cannot_be_read_is_named(tmp_path, name, text, said):
    (tmp_path / 'cut.py').write_text('model = dict(')
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f'{name}, or a base of it, cannot be read .*{said}'):
        launch.load_config(tmp_path / name)


def test_a_work_dir_that_cannot_be_written_to_is_told_with_the_remedy(tmp_path):
    (tmp_path / 'file').touch()
    (tmp_path / 'link').symlink_to('nowhere')
    reasons = {
        'file': f'{tmp_path}/file is a file',
        'file/below': 'Not a directory',
        'link': f'{tmp_path}/link is a link that leads nowhere',
        'link/below': f'{tmp_path}/link is a link that leads nowhere',
    }
    for name, reason in reasons.items():
        folder = tmp_path / name
        told = rf'nothing can be written to the work dir {folder} \({reason}\): .*--work-dir'
        with (
            pytest.raises(ValueError, match=told),
            launch.exclusive(Config(dict(work_dir=str(folder), launcher='none'))),
        ):
            pass


def test_none_is_the_default_where_mmengine_has_one(tmp_path):
    line = ['--cfg-options', 'env_cfg=None', 'randomness=None', 'log_level=None']
    cfg = launch.read_config(arguments(tmp_path, *line))
    assert not {'env_cfg', 'randomness', 'log_level'} & set(cfg)


def test_none_switches_off_a_hook_that_mmengine_does_not_have(tmp_path):
    line = ['--cfg-options', 'default_hooks.visualization=None', 'default_hooks.timer=None']
    cfg = launch.read_config(arguments(tmp_path, *line))
    assert cfg.default_hooks == dict(timer=None)


@pytest.mark.parametrize(
    ('setting', 'expected'),
    [
        ('default_hooks=3', 'dict'),
        ('default_hooks.checkpoint=3', 'dict or Hook'),
        ('test_evaluator=3', 'dict or list'),
        ('tta_model=3', 'dict'),
        ('train_dataloader=3', 'dict'),
        ('param_scheduler=3', 'dict or list or tuple'),
        ('custom_hooks=3', 'list or tuple'),
        ('custom_imports=3', 'dict'),
    ],
)
def test_a_setting_of_another_kind_is_named(tmp_path, setting, expected):
    name = setting.partition('=')[0]
    with pytest.raises(ValueError, match=f'^{name} is 3: expected {expected}$'):
        launch.read_config(arguments(tmp_path, '--cfg-options', setting))


def test_imports_of_the_command_line_are_made(tmp_path, monkeypatch):
    (tmp_path / 'imported_by_an_option.py').touch()
    monkeypatch.syspath_prepend(tmp_path)
    option = 'custom_imports.imports=[imported_by_an_option]'
    launch.read_config(arguments(tmp_path, '--cfg-options', option))
    assert sys.modules.pop('imported_by_an_option')


def test_settings_that_a_run_needs_are_named(cfg):
    cfg.test_cfg = None
    with pytest.raises(ValueError, match='has no test_dataloader and no test_cfg: take a config'):
        launch.require_settings(cfg, 'model', 'test_dataloader', 'test_cfg')


@pytest.mark.parametrize('hooks', [{}, dict(default_hooks=None)])
def test_a_config_without_hooks_saves_atomically(hooks):
    cfg = Config(hooks)
    launch.save_atomically(cfg)
    assert cfg.default_hooks.checkpoint.type == 'mmseg.AtomicCheckpointHook'
