"""The demo, as a user would run it and step by step."""

import errno
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from helpers.tool_runs import TOOLS, config, load_tool, run

demo = load_tool('demo.py')


@pytest.fixture(scope='module')
def short_run(tmp_path_factory) -> tuple[Path, str]:
    """Folder and output of a short demo."""
    folder = tmp_path_factory.mktemp('demo')
    said = run(sys.executable, TOOLS / 'demo.py', '--short', '--work-dir', folder)
    return folder / 'street-scenes-short', said


def results(folder: Path) -> dict:
    return json.loads((folder / 'results.json').read_text())


def test_progress_and_time_left_are_shown(short_run):
    _, said = short_run
    assert 'CE train: 20/40  eta: 0:0' in said
    assert 'RMI test: 8/8' in said
    assert 'min left in all' in said


def test_both_losses_beat_the_majority_class_by_far(short_run):
    scores = results(short_run[0])['scores']
    assert scores['CE']['mIoU'] > 3 * scores['all road']['mIoU']
    assert scores['RMI']['mIoU'] > 3 * scores['all road']['mIoU']


@pytest.mark.parametrize('loss', ['CE', 'RMI'])
def test_scores_are_those_of_mmsegmentation(short_run, loss):
    folder, _ = short_run
    (logged,) = (folder / loss.lower() / 'test').glob('*/*.json')
    logged = json.loads(logged.read_text())
    ours = results(folder)['scores'][loss]
    assert ours['mIoU'] == pytest.approx(logged['mIoU'], abs=0.01)
    assert ours['aAcc'] == pytest.approx(logged['aAcc'], abs=0.01)


def test_the_table_holds_the_scores(short_run):
    folder, said = short_run
    (row,) = [line for line in said.splitlines() if 'mIoU' in line and '│' in line]
    cells = [cell.strip() for cell in row.strip('│').split('│')]
    scores = results(folder)['scores']
    assert cells == ['mIoU', *(f'{scores[name]["mIoU"]:.2f}' for name in scores)]


def test_there_is_a_picture(short_run):
    width, height = Image.open(short_run[0] / 'comparison.png').size
    assert width > 1000
    assert 0.3 * width < height < 0.5 * width  # two rows of four panels, a legend below


def test_a_second_run_shows_the_same_without_training(short_run):
    folder, _ = short_run
    before = results(folder)['scores']
    logs = {file: file.stat().st_size for file in folder.glob('*/t*.log')}
    assert len(logs) == 4
    said = run(sys.executable, TOOLS / 'demo.py', '--short', '--work-dir', folder.parent)
    assert results(folder)['scores'] == before
    assert {file: file.stat().st_size for file in logs} == logs
    assert 'train:' not in said


def test_predictions_may_be_augmented_and_painted(short_run, tmp_path):
    folder, _ = short_run
    checkpoint = (folder / 'ce' / 'last_checkpoint').read_text()
    command = [sys.executable, TOOLS / 'test.py', config('ce'), checkpoint, '--tta']
    command += ['--out', tmp_path / 'labels', '--show-dir', tmp_path / 'painted']
    command += ['--work-dir', tmp_path / 'work', '--cfg-options']
    command += [
        f'test_dataloader.dataset.data_root={folder / "scenes"}',
        'test_dataloader.dataset.indices=2',
    ]
    run(*command)
    assert len(list((tmp_path / 'labels').glob('*.png'))) == 2
    assert len(list((tmp_path / 'painted').rglob('*.png'))) == 2


def test_stages_that_are_over_are_remembered(tmp_path):
    first = demo.Experiment('data', 'config', ['a=1'], {'CE train': 3.0}, ['CE train'])
    first.save(tmp_path)
    second = demo.Experiment('data', 'config', ['a=1'])
    second.go_on(tmp_path)
    assert second == first


def test_a_full_disk_leaves_what_was_remembered(tmp_path, monkeypatch):
    first = demo.Experiment('data', 'config', [], {'CE train': 3.0}, ['CE train'])
    first.save(tmp_path)
    write = Path.write_text

    def fill_up(self, text):
        write(self, text[: len(text) // 2])
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(Path, 'write_text', fill_up)
    second = demo.Experiment('data', 'config', [])
    with pytest.raises(OSError, match='No space left'):
        second.save(tmp_path)
    second.go_on(tmp_path)
    assert second == first


@pytest.mark.parametrize(('name', 'value'), [('data', 'other'), ('options', [])])
def test_a_folder_of_another_experiment_is_refused(tmp_path, name, value):
    settings = dict(data='data', config='config', options=['a=1'])
    demo.Experiment(**settings).save(tmp_path)
    with pytest.raises(ValueError, match=f'holds a demo whose {name} is .* remove it or choose'):
        demo.Experiment(**{**settings, name: value}).go_on(tmp_path)


def test_a_folder_that_is_no_copy_of_camvid_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'has no train\.txt: --data takes a copy of CamVid'):
        demo.check_copy(tmp_path)


def test_a_copy_with_a_missing_file_is_refused(scenes, tmp_path):
    for split in ('train', 'val'):
        (tmp_path / f'{split}.txt').write_text((scenes / f'{split}.txt').read_text())
    with pytest.raises(ValueError, match=r'lacks train/scene_0000\.png, which train\.txt lists'):
        demo.check_copy(tmp_path)


def test_a_tool_that_fails_is_quoted(tmp_path):
    command = [sys.executable, '-c', 'raise SystemExit("no such weights")']
    with pytest.raises(RuntimeError, match='no such weights'):
        demo.run(command, tmp_path / 'log', 'CE train', None)


@pytest.mark.parametrize(
    ('line', 'note'),
    [
        (
            'INFO - Iter(train) [ 20/800]  lr: 1e-3  eta: 0:01:02  time: 0.09  '
            'loss: 1.23  decode.loss_ce: 1.23',
            '20/800  eta: 0:01:02  loss: 1.23',
        ),
        ('Iter(train) [100/800]  eta: 1 day, 2:03:04  loss: 2.5', '100/800  eta: 1 day, 2:03:04'),
        ('Iter(test) [ 4/8]    eta: 0:00:01  time: 0.1', '4/8  eta: 0:00:01'),
    ],
)
def test_lines_of_the_log_tell_how_far_a_tool_is(tmp_path, line, note):
    reports = []

    class Listener:
        def report(self, *what):
            reports.append(what)

    demo.run([sys.executable, '-c', f'print({line!r})'], tmp_path / 'log', 'stage', Listener())
    ((stage, done, said),) = reports
    assert (stage, said[: len(note)]) == ('stage', note)
    numerator, denominator = note.split()[0].split('/')
    assert done == pytest.approx(int(numerator) / int(denominator))
