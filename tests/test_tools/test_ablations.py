"""The rows of the paper's table 3, as configs."""

import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmseg.registry import MODELS

from helpers.tool_runs import load_tool

ablations = load_tool('ablations.py')
CONFIGS = Path(__file__).parents[2] / 'configs'
RMI = CONFIGS / 'deeplabv3' / 'deeplabv3_r101-d16_4xb4-rmi-30k_voc12aug-513x513.py'


@pytest.fixture
def children(tmp_path, monkeypatch, capsys):
    line = ['ablations.py', str(RMI), '--out', str(tmp_path / 'a' / 'b')]
    monkeypatch.setattr(sys, 'argv', line)
    ablations.main()
    written = map(Path, capsys.readouterr().out.splitlines())
    return {path: Config.fromfile(path).to_dict() for path in written}


def test_every_row_of_table_3_is_written_once(children):
    """The rows as printed: manner, DF, R."""
    a = [('interp', 4, 3), ('max', 4, 3), ('avg', 4, 3)]
    a += [('avg', 2, 3), ('avg', 3, 3), ('avg', 4, 3), ('avg', 5, 3), ('avg', 6, 3)]
    b = [('avg', 4, 1), ('avg', 4, 2), ('avg', 4, 3), ('avg', 4, 4)]
    b += [('avg', 6, 2), ('avg', 6, 3), ('avg', 6, 4), ('avg', 6, 5)]
    losses = [child['model']['decode_head']['loss_decode'] for child in children.values()]
    found = [
        (loss['downsample'], loss['downsample_factor'], loss['region_size']) for loss in losses
    ]
    assert sorted(found) == sorted(set(a + b))


def test_rows_differ_by_the_loss_alone(children, mmseg_scope):
    base = Config.fromfile(RMI).to_dict()
    base['model']['decode_head'].pop('loss_decode')
    for child in children.values():
        assert MODELS.build(child['model']['decode_head'].pop('loss_decode')).loss_name
        assert child == base


def test_names_say_the_setting_and_the_base(children):
    assert f'rmi-avg-df6-r5_{RMI.name}' in {path.name for path in children}


def test_the_scope_of_the_loss_does_not_matter(tmp_path):
    model = "dict(decode_head=dict(loss_decode=dict(type='mmseg.RMILoss')))"
    (tmp_path / 'mine.py').write_text(f"_base_ = '{RMI}'\nmodel = {model}\n")
    assert len(list(ablations.write_ablations(tmp_path / 'mine.py', tmp_path / 'a'))) == 13


def test_a_pure_python_config_is_refused(tmp_path):
    (tmp_path / 'lazy.py').write_text('from mmseg_rmi.losses import RMILoss\n')
    with pytest.raises(ValueError, match=r'lazy\.py is a pure-Python config.*name another one'):
        list(ablations.write_ablations(tmp_path / 'lazy.py', tmp_path / 'a'))


def test_config_without_rmi_is_refused(tmp_path):
    config = RMI.with_name(RMI.name.replace('-rmi-', '-bce-'))
    with pytest.raises(
        ValueError, match=r"must train .* one RMILoss, got .*'SigmoidCrossEntropyLo"
    ):
        list(ablations.write_ablations(config, tmp_path))
    assert not list(tmp_path.iterdir())
