"""What is read from work dirs, and what is drawn of it."""

import json
import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from helpers.tool_runs import load_tool

tool = load_tool('analysis/plot_runs.py')


def write_scalars(work_dir, stamp: str, records: list[dict]) -> None:
    folder = work_dir / stamp / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, records)) + '\n')


def write_result(folder, stamp: str, **metrics) -> None:
    (folder / stamp).mkdir(parents=True)
    (folder / stamp / f'{stamp}.json').write_text(json.dumps(metrics))


def trained(step: int, **values) -> dict:
    return {'lr': 0.1, 'time': 1.0, 'iter': step, 'step': step, **values}


@pytest.fixture
def ce(tmp_path):
    """A run that was resumed from iteration 40, tested twice."""
    folder = tmp_path / 'ce'
    first = [trained(step, loss=9.0, **{'decode.loss_ce': 9.0}) for step in (20, 40, 60)]
    again = [trained(step, loss=1.0, **{'decode.loss_ce': 1.0}) for step in (60, 80)]
    write_scalars(folder, '20260101_000000', first)
    write_scalars(folder, '20260102_000000', [*again, {'mIoU': 50.0, 'step': 80}])
    write_result(folder / 'test', '20260103_000000', **{'trimap/mIoU.1': 1.0})
    write_result(
        folder / 'test_tta', '20260104_000000', **{'trimap/mIoU.10': 40.0, 'trimap/mIoU.2': 30.0}
    )
    write_result(folder / 'other', '20260105_000000', mIoU=50.0)
    return folder


@pytest.fixture
def rmi(tmp_path):
    folder = tmp_path / 'rmi'
    logged = {'loss': 5.0, 'decode.loss_bce': 2.0, 'decode.loss_region': 3.0}
    logged |= {'decode.rmi_score': 0.25, 'decode.acc_seg': 90.0}
    write_scalars(folder, '20260101_000000', [trained(step, **logged) for step in (20, 40)])
    return folder


def test_a_resumed_run_replaces_what_it_did_over_again(ce):
    run = tool.read_run('CE', ce)
    assert run.scalars['decode.loss_ce'] == ([20, 40, 60, 80], [9.0, 9.0, 1.0, 1.0])
    assert run.scalars['mIoU'] == ([80], [50.0])


def test_a_clock_set_back_between_runs_changes_nothing(ce):
    expected = tool.read_run('CE', ce).scalars
    (ce / '20260101_000000').rename(ce / '20260102_120000')  # the first, by name the last
    assert tool.read_run('CE', ce).scalars == expected


def test_a_run_that_was_started_anew_replaces_those_before(ce):
    write_scalars(ce, '20260103_000000', [trained(step, loss=2.0) for step in (20, 40)])
    write_scalars(ce, '20260102_180000', [trained(60, loss=3.0)])  # of a run before, it seems
    assert tool.read_run('CE', ce).scalars['loss'] == ([20, 40], [2.0, 2.0])


def test_epochs_become_the_iterations_at_their_ends(tmp_path):
    records = []
    for epoch in (1, 2):
        steps = [50 * (2 * epoch - 1), 50 * 2 * epoch]
        records += [trained(step, loss=1.0, epoch=epoch) for step in steps]
        records.append({'mIoU': 10.0 * epoch, 'step': epoch})
    write_scalars(tmp_path, '20260101_000000', records)
    assert tool.read_run('CE', tmp_path).scalars['mIoU'] == ([100, 200], [10.0, 20.0])


def test_a_line_that_was_cut_off_with_the_run_is_left_out(rmi):
    (file,) = rmi.glob('*/vis_data/scalars.json')
    file.write_text(file.read_text() + '{"loss": 4.0, "st')
    assert tool.read_run('RMI', rmi).scalars['loss'] == ([20, 40], [5.0, 5.0])


def test_the_newest_trimap_is_read_by_width(ce):
    assert tool.read_run('CE', ce).scalars['trimap'] == ([2, 10], [30.0, 40.0])


def test_a_test_result_alone_is_a_run(tmp_path):
    write_result(tmp_path, '20260103_000000', **{'trimap/mIoU.1': 1.0, 'mIoU': 2.0})
    assert tool.list_panels([tool.read_run('CE', tmp_path)]) == {
        'trimap': 'tested mIoU near boundaries, %'
    }


def test_each_quantity_has_its_panel(ce, rmi):
    runs = tool.parse_runs([f'CE={ce}', f'RMI={rmi}'])
    assert list(tool.list_panels(runs)) == [
        'decode.loss_ce',
        'decode.loss_bce',
        'decode.loss_region',
        'loss',  # of RMI, which has two terms
        'decode.rmi_score',
        'mIoU',
        'lr',
        'trimap',
    ]
    assert 'loss' not in tool.list_panels(runs[:1])


def test_smoothing_starts_at_the_first_value_and_skips_what_is_not_finite():
    smoothed = tool.smooth([4, 4, math.inf, 1], 0.5)
    assert smoothed[:2] == [4, 4]
    assert math.isnan(smoothed[2])
    # Weights 1/8, 1/4 and 1/2, over their sum.
    assert smoothed[3] == pytest.approx((4 / 8 + 4 / 4 + 1 / 2) / (7 / 8))
    assert tool.smooth([3, 1, 2], 0) == [3, 1, 2]


def test_lines_hold_what_was_logged_and_its_mean(ce, rmi):
    runs = tool.parse_runs([f'CE={ce}', f'RMI={rmi}'])
    _, (losses, rates) = plt.subplots(1, 2)
    tool._draw_panel(losses, 'decode.loss_ce', 'loss', runs, 0.5)
    logged, smoothed = (list(line.get_ydata()) for line in losses.lines)
    assert logged == [9, 9, 1, 1]
    assert smoothed == tool.smooth([9, 9, 1, 1], 0.5)
    tool._draw_panel(rates, 'lr', 'learning rate', runs, 0.5)
    assert [list(line.get_xdata()) for line in rates.lines] == [[20, 40, 60, 80], [20, 40]]
    assert rates.lines[0].get_linewidth() > rates.lines[1].get_linewidth()
    plt.close('all')


def test_a_drawing_names_runs_and_panels_as_text(ce, rmi, tmp_path):
    out = tmp_path / 'folder' / 'runs.svg'
    tool.main([f'CE={ce}', f'RMI & more={rmi}', '--out', str(out)])
    texts = {node.text for node in ET.parse(out).iter('{http://www.w3.org/2000/svg}text')}
    assert {'CE', 'RMI & more', 'decode.loss_region', 'learning rate', 'iteration'} <= texts
    first = out.read_bytes()
    tool.main([f'CE={ce}', f'RMI & more={rmi}', '--out', str(out)])
    assert out.read_bytes() == first


@pytest.mark.parametrize(('theme', 'page'), [('light', (255, 255, 255)), ('dark', (13, 17, 23))])
def test_the_page_has_the_colour_of_the_theme(ce, tmp_path, theme, page):
    out = tmp_path / 'runs.png'
    tool.main([f'CE={ce}', '--theme', theme, '--out', str(out), '--smoothing', '0'])
    assert tuple(np.asarray(Image.open(out).convert('RGB'))[0, 0]) == page


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['CE'], "expected NAME=FOLDER, got 'CE'"),
        (['CE=/not/there'], '/not/there holds neither TIMESTAMP/vis_data/scalars.json'),
    ],
)
def test_what_is_no_run_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        tool.parse_runs(arguments)


def test_two_runs_of_a_name_are_refused(ce):
    with pytest.raises(ValueError, match="two folders are called 'CE'"):
        tool.parse_runs([f'CE={ce}'] * 2)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--smoothing', '1'], '--smoothing must be at least 0 and below 1, got 1.0'),
        (['--out', 'runs.gif'], '--out must end in .png, .svg or .pdf, got runs.gif'),
    ],
)
def test_options_out_of_range_are_refused(options, message, capsys):
    with pytest.raises(SystemExit):
        tool.parse_args(['CE=folder', *options])
    assert message in capsys.readouterr().err
