"""What the CamVid converter makes of sound, partial and damaged copies."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.tool_runs import load_tool
from mmseg_rmi.datasets import CamVidDataset

converter = load_tool('dataset_converters/camvid.py')


@pytest.fixture
def convert(tmp_path, capsys) -> Callable[[Path], tuple[int, str]]:
    """Return the exit status and the report for a copy laid out in ``tmp_path / 'out'``."""

    def run(root: Path) -> tuple[int, str]:
        status = converter.main([str(root), '-o', str(tmp_path / 'out')])
        return status, ' '.join(capsys.readouterr().out.split())

    return run


def test_a_sound_copy_is_laid_out_for_every_config(make_copy, convert, tmp_path):
    status, report = convert(make_copy(train=3, val=2, test=1))
    assert status == 0
    assert 'All of the CamVid configs work' in report
    counts = {
        split: len(CamVidDataset(f'{split}.txt', str(tmp_path / 'out')))
        for split in ('train', 'val', 'trainval', 'test')
    }
    assert counts == dict(train=3, val=2, trainval=5, test=1)
    trainval = CamVidDataset('trainval.txt', str(tmp_path / 'out'))
    assert all(
        Path(info[key]).is_file() for info in trainval for key in ('img_path', 'seg_map_path')
    )


def test_the_copy_itself_is_left_alone(make_copy, convert):
    root = make_copy(train=2, val=1)
    before = {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    convert(root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob('*')} == before


def test_in_place_only_trainval_is_added(make_copy):
    root = make_copy(train=2, val=1)
    train_list = (root / 'train.txt').read_text()
    before = {path.name for path in root.iterdir()}
    converter.main([str(root), '-o', str(root)])
    assert {path.name for path in root.iterdir()} - before == {'trainval.txt'}
    assert (root / 'train.txt').read_text() == train_list
    assert len(CamVidDataset('trainval.txt', str(root))) == 3


def test_a_second_run_changes_nothing(make_copy, convert, tmp_path):
    root = make_copy(train=2, val=1)
    convert(root)
    first = {path.name: path.read_bytes() for path in (tmp_path / 'out').glob('*.txt')}
    assert convert(root)[0] == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / 'out').glob('*.txt')} == first


def test_without_a_test_split_the_options_for_val_are_printed(make_copy, convert, tmp_path):
    status, report = convert(make_copy(train=2, val=1))
    assert status == 0
    assert 'test: absent' in report
    assert '--cfg-options train_dataloader.dataset.ann_file=train.txt' in report
    assert 'test_dataloader.dataset.ann_file=val.txt' in report
    assert not (tmp_path / 'out/test.txt').exists()


def test_without_val_there_is_no_trainval(make_copy, convert, tmp_path):
    status, report = convert(make_copy(train=2, test=1))
    assert status == 0
    assert 'no trainval without val' in report
    assert not (tmp_path / 'out/trainval.txt').exists()


def test_of_another_copy_laid_out_before_nothing_is_left(make_copy, convert, tmp_path):
    root = make_copy(train=2, val=1, test=1)
    convert(root)
    for path in ('val', 'valannot', 'val.txt'):
        (root / path).rename(tmp_path / path)
    convert(root)
    expected = ['test', 'test.txt', 'testannot', 'train', 'train.txt', 'trainannot']
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == expected


def test_a_split_that_lies_in_the_output_folder_itself_stays(make_copy, convert, tmp_path):
    own = tmp_path / 'out' / 'val'
    own.mkdir(parents=True)
    own.with_suffix('.txt').write_text('val/a.png valannot/a.png\n')
    convert(make_copy(train=1))
    assert own.is_dir()
    assert own.with_suffix('.txt').is_file()


def test_counts_and_sizes_unlike_the_published_are_remarked(make_copy, convert):
    report = convert(make_copy(train=2))[1]
    assert 'train: usable, 2 images the published split has 367' in report
    assert 'some images are 12x9: the recipe is made for 480x360' in report


def test_lists_that_are_missing_are_made_from_the_folders(make_copy, convert, tmp_path):
    root = make_copy(train=3, val=1)
    (root / 'train.txt').unlink()
    status, report = convert(root)
    assert status == 0
    assert 'there is no train.txt: every image of the folder counts' in report
    assert len(CamVidDataset('train.txt', str(tmp_path / 'out'))) == 3


def damage_nothing_but(root: Path, how: str) -> None:
    """Damage the val split of a copy in one way."""
    annotation = root / 'valannot/val_0.png'
    labels = np.zeros((9, 12), np.uint8)
    match how:
        case 'no label':
            annotation.unlink()
        case 'no labels at all':
            (root / 'valannot').rename(root / 'val_labels')
        case 'colour labels':
            Image.fromarray(np.zeros((9, 12, 3), np.uint8)).save(annotation)
        case 'label out of range':
            labels[4, 5] = 30
            Image.fromarray(labels).save(annotation)
        case 'other size':
            Image.fromarray(labels[:5]).save(annotation)
        case 'truncated image':
            image = root / 'val/val_0.png'
            image.write_bytes(image.read_bytes()[:-60])
        case 'malformed list':
            (root / 'val.txt').write_text('val/val_0.png\n')
        case 'list of another split':
            (root / 'val.txt').write_text((root / 'train.txt').read_text())
        case 'empty list':
            (root / 'val.txt').write_text('')
        case 'empty folder':
            (root / 'val.txt').unlink()
            for image in (root / 'val').iterdir():
                image.unlink()


@pytest.mark.parametrize(
    ('how', 'message'),
    [
        ('no label', 'there is no file .*valannot/val_0.png'),
        ('no labels at all', 'there is no folder .*valannot'),
        ('colour labels', 'valannot/val_0.png is no map of class indices but has mode RGB'),
        ('label out of range', 'valannot/val_0.png holds the label 30: they go from 0 to 11'),
        ('other size', r'valannot/val_0.png has \(12, 5\) pixels, its image \(12, 9\)'),
        ('truncated image', 'val/val_0.png or its label cannot be read'),
        ('malformed list', '[^ ]*val.txt, line 1: expected "IMAGE LABEL"'),
        (
            'list of another split',
            '[^ ]*val.txt names train/train_0.png trainannot/train_0.png, outside of val valannot',
        ),
        ('empty list', '[^ ]*val.txt names no image'),
        ('empty folder', 'there is no image in [^ ]*val '),
    ],
)
def test_a_damaged_split_is_named_and_left_out(make_copy, convert, tmp_path, how, message):
    root = make_copy(train=2, val=2, test=1)
    damage_nothing_but(root, how)
    status, report = convert(root)
    assert status == 1
    assert re.search(f'val: NOT usable {message}', report)
    assert 'training on train and evaluating on test' in report
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'test',
        'test.txt',
        'testannot',
        'train',
        'train.txt',
        'trainannot',
    ]


def test_many_faults_are_counted_not_listed(make_copy, convert):
    root = make_copy(train=9)
    for label in (root / 'trainannot').iterdir():
        label.unlink()
    report = convert(root)[1]
    assert report.count('there is no file') == 3
    assert '6 more of the kind' in report


def test_the_folder_above_the_copy_is_recognised(make_copy, convert):
    root = make_copy(train=1)
    status, report = convert(root.parent)
    assert status == 1
    assert f'did you mean {root}?' in report


def test_a_path_that_is_no_folder_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        converter.main([str(tmp_path / 'nowhere')])
    assert 'nowhere is not a folder' in capsys.readouterr().err


def test_files_in_the_way_are_not_replaced(make_copy, convert, tmp_path):
    (tmp_path / 'out/train').mkdir(parents=True)
    status, report = convert(make_copy(train=1))
    assert status == 1
    assert 'out/train is in the way of a link' in report
    assert not (tmp_path / 'out/train').is_symlink()


def test_the_real_copy_is_sound_but_for_its_absent_test_split(data_root, convert, tmp_path):
    status, report = convert(data_root / 'data/camvid')
    assert status == 0
    assert 'train: usable, 367 images val: usable, 101 images test: absent' in report
    assert len(CamVidDataset('trainval.txt', str(tmp_path / 'out'))) == 468
