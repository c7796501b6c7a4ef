"""Configs with bases of MMSegmentation, in processes that know nothing of the plugin at first."""

import sys
from pathlib import Path

import mmseg
import pytest
from mmengine.config import Config

from helpers.imports import can_import
from helpers.tool_runs import ROOT, config, finish, options, run, start

OWN_TRAIN = Path(mmseg.__file__).parent / '.mim' / 'tools' / 'train.py'


def test_every_shipped_config_is_read_by_a_program_that_knows_nothing_of_the_plugin(tmp_path):
    program = tmp_path / 'read.py'
    program.write_text("""
import sys
from mmengine.config import Config
for path in sys.argv[1:]:
    losses = str(Config.fromfile(path).model)
    print(path, 'RMILoss' in losses)
""")
    configs = sorted((ROOT / 'configs' / 'rmi').glob('*.py'))
    if not can_import('mmpretrain.models'):
        configs = [path for path in configs if not path.name.startswith('convnext')]
    said = run(sys.executable, '-m', 'mmseg_rmi', program, *configs)
    assert said.count('.py True') == len(configs) > 5


def test_mmsegmentations_own_tool_trains_a_config_with_such_a_base(scenes, tmp_path):
    recipe = Config.fromfile(config('rmi')).pretty_text.replace('SyncBN', 'BN')  # no GPU
    mine = tmp_path / 'mine.py'
    mine.write_text(f"_base_ = 'mmseg::_base_/default_runtime.py'\n{recipe}")
    settings = options(scenes, 'train_cfg.max_iters=2', 'train_cfg.val_interval=2')
    command = [sys.executable, '-m', 'mmseg_rmi', OWN_TRAIN, mine, '--work-dir', tmp_path / 'run']
    run(*command, *settings)
    assert (tmp_path / 'run' / 'iter_2.pth').is_file()


@pytest.mark.parametrize(
    ('arguments', 'code', 'expected'),
    [
        (['--help'], 0, 'usage: python -m mmseg_rmi'),
        ([], 2, 'error: the following arguments are required: script'),
        (['missing.py', '--amp'], 2, 'error: there is no file missing.py'),
    ],
)
def test_a_script_is_asked_for(arguments, code, expected):
    assert expected in finish(start(sys.executable, '-m', 'mmseg_rmi', *arguments), code=code)


def test_a_script_gets_its_arguments_as_they_are(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text('import sys; print(sys.argv[1:])')
    arguments = ['--help', 'x', '--', '--cfg-options', 'a=1']
    assert str(arguments) in run(sys.executable, '-m', 'mmseg_rmi', script, *arguments)
