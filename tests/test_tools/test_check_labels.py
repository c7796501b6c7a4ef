"""Label maps with the faults that users report, each found and nothing else."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from rich.console import Console

from helpers.tool_runs import TIMEOUT, TOOLS, load_tool, start

tool = load_tool('check_labels.py')
pytestmark = pytest.mark.usefixtures('mmseg_scope')

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=(4, 4)),
    dict(type='PackSegInputs'),
]
PLAIN = np.array([[0, 0, 1], [1, 2, 255]], np.uint8).repeat(4, 0).repeat(4, 1)
GROUND = np.zeros((8, 8), np.uint8)


def write(folder: Path, *maps: np.ndarray, suffix: str = '.png') -> None:
    for i, labels in enumerate(maps):
        for name in ('images', 'labels'):
            (folder / name).mkdir(exist_ok=True)
        pixels = np.zeros((*labels.shape[:2], 3), np.uint8)
        Image.fromarray(pixels).save(folder / 'images' / f'{i}.png')
        Image.fromarray(labels).save(folder / 'labels' / f'{i}{suffix}')


def config(folder: Path, classes: int = 3, head: dict | None = None, **dataset) -> Config:
    settings = dict(
        type='BaseSegDataset',
        data_root=str(folder),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.png',
        metainfo=dict(classes=[f'c{i}' for i in range(classes)]),
        pipeline=PIPELINE,
    )
    return Config(
        dict(
            model=dict(
                data_preprocessor=dict(seg_pad_val=255),
                decode_head=dict(num_classes=classes, **(head or {})),
            ),
            train_dataloader=dict(dataset=settings | dataset),
        )
    )


def check(cfg: Config) -> tuple[list[str], str]:
    console = Console(file=io.StringIO(), width=120)
    return tool.check(cfg, 0, console), console.file.getvalue()


def test_sound_labels_are_counted_and_nothing_is_said(tmp_path: Path) -> None:
    write(tmp_path, PLAIN, PLAIN[:, :4])  # of 96 and 32 pixels
    faults, table = check(config(tmp_path))
    assert faults == []
    cells = [line.replace('│', ' ').split() for line in table.splitlines() if '│' in line]
    assert cells == [
        ['0', 'c0', '37.500', '2', '100.0'],
        ['1', 'c1', '37.500', '2', '100.0'],
        ['2', 'c2', '12.500', '1', '50.0'],
        ['255', 'ignored', '12.500', '1', '50.0'],
    ]
    assert 'class_weight=[0.91, 0.91, 1.57]' in table  # of 48, 48 and 16 pixels


@pytest.mark.parametrize(
    ('spoil', 'why'),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:60]), 'truncated'),
        (lambda path: path.write_text(''), 'cannot identify image file'),
        (Path.unlink, 'does not exist'),
        (lambda path: (path.unlink(), path.mkdir()), 'Is a directory'),
    ],
    ids=['cut', 'empty', 'missing', 'folder'],
)
def test_files_that_cannot_be_read_are_named_and_the_others_counted(tmp_path, spoil, why) -> None:
    write(tmp_path, PLAIN, PLAIN, PLAIN)
    spoil(tmp_path / 'labels' / '1.png')
    spoil(tmp_path / 'labels' / '2.png')
    faults, table = check(config(tmp_path))
    (fault,) = faults
    assert fault.startswith(
        f'unreadable, or with an unreadable image: {tmp_path}/labels/1.png, {tmp_path}/labels/2.png'
    )
    assert why in fault
    assert '37.500' not in table  # of PLAIN alone: a third each for 0, 1 and the others
    assert '33.333' in table


@pytest.mark.parametrize(
    ('labels', 'settings', 'expected'),
    [
        (np.where(PLAIN > 2, 9, PLAIN), {}, '9 is neither a class (0 to 2) nor ignore_index=255'),
        (np.where(PLAIN > 2, 7, PLAIN), {}, 'Set decode_head.ignore_index=7'),
        (np.where(PLAIN > 2, 1, PLAIN) + 1, {}, 'set reduce_zero_label=True'),
        (PLAIN, dict(reduce_zero_label=True), 'set reduce_zero_label=False'),
        (np.where(PLAIN > 0, 255, 0), dict(classes=2), 'if 255 is the foreground'),
        (np.full_like(PLAIN, 255), {}, 'every pixel is ignored'),
        (np.where(PLAIN == 1, 0, PLAIN), {}, 'no pixel of c1'),
        (PLAIN, dict(head=dict(out_channels=1)), 'one channel distinguishes two classes only'),
        (PLAIN, dict(head=dict(out_channels=4)), 'decode_head.out_channels=4 for num_classes=3'),
        (PLAIN, dict(head=dict(ignore_index=0)), '255 is neither a class (0 to 2) nor'),
        (PLAIN, dict(head=dict(ignore_index=None)), '255 is neither a class (0 to 2) nor ignore'),
        (PLAIN, dict(head=dict(ignore_index=None)), 'padding is refused in training'),
        (PLAIN * 3, dict(metainfo=None), '3 is neither a class (0 to 2)'),
        (PLAIN.repeat(3).reshape(*PLAIN.shape, 3), {}, 'read as colours: '),
    ],
)
def test_fault_is_found(labels: np.ndarray, settings: dict, expected: str, tmp_path: Path) -> None:
    write(tmp_path, labels.astype(np.uint8))
    faults, _ = check(config(tmp_path, **settings))
    assert any(expected in fault for fault in faults), faults


def test_an_ignore_index_that_is_no_integer_is_named(tmp_path: Path) -> None:
    write(tmp_path, PLAIN)
    with pytest.raises(
        TypeError, match=r'decode_head\.ignore_index must be an integer, got \[255\]'
    ):
        check(config(tmp_path, head=dict(ignore_index=[255])))


def test_labels_of_16_bits_are_found(tmp_path: Path) -> None:
    write(tmp_path, PLAIN.astype(np.uint16) + 256)
    assert 'more than 8 bits: ' in check(config(tmp_path))[0][0]


def test_jpeg_labels_are_found(tmp_path: Path) -> None:
    write(tmp_path, PLAIN, suffix='.jpg')
    assert 'JPEG, which ' in check(config(tmp_path, seg_map_suffix='.jpg'))[0][0]


def test_label_map_of_another_size_than_its_image_is_named(tmp_path: Path) -> None:
    write(tmp_path, PLAIN, PLAIN)
    Image.fromarray(PLAIN[:4]).save(tmp_path / 'labels' / '1.png')
    faults, _ = check(config(tmp_path))
    assert faults == [f'not of the same size as the image: {tmp_path}/labels/1.png']


def test_head_of_other_classes_and_padding_that_is_a_class_are_found(tmp_path: Path) -> None:
    write(tmp_path, PLAIN)
    cfg = config(tmp_path)
    cfg.model.decode_head.num_classes = 19
    cfg.model.data_preprocessor.seg_pad_val = 0
    faults, _ = check(cfg)
    assert faults[0] == 'decode_head.num_classes=19, but the data set has 3 classes (c0, c1, c2)'
    assert faults[1].startswith('data_preprocessor.seg_pad_val=0 is not decode_head.ignore_index')


def test_joined_and_repeated_data_sets_are_read_once_each(tmp_path: Path) -> None:
    write(tmp_path, PLAIN)
    cfg = config(tmp_path)
    one = cfg.train_dataloader.dataset
    repeated = dict(type='RepeatDataset', times=5, dataset=one)
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[one, repeated])
    assert '2 label maps' in check(cfg)[1]


def test_empty_training_set_is_explained(tmp_path: Path) -> None:
    write(tmp_path, PLAIN)
    faults, _ = check(config(tmp_path, img_suffix='.jpg'))
    assert "img_suffix='.jpg' has no images" in faults[0]
    assert "img_suffix='.jpg'" in faults[0]


def test_a_training_set_without_labels_is_told_what_to_set(tmp_path: Path) -> None:
    write(tmp_path, PLAIN)
    with pytest.raises(ValueError, match=r'no label maps: set seg_map_path, .*data_prefix'):
        check(config(tmp_path, data_prefix=dict(img_path='images')))


def test_brackets_in_names_are_printed(tmp_path: Path, monkeypatch, capsys) -> None:
    folder = tmp_path / '[raw]'
    folder.mkdir()
    write(folder, PLAIN, PLAIN)
    Image.fromarray(PLAIN[:4]).save(folder / 'labels' / '1.png')
    path = tmp_path / 'config.py'
    config(folder, metainfo=dict(classes=['[a]', '[/b]', 'c'])).dump(path)
    monkeypatch.setenv('COLUMNS', '500')
    monkeypatch.setattr(sys, 'argv', ['check_labels.py', str(path), '--workers=0'])
    with pytest.raises(SystemExit):
        tool.main()
    said = capsys.readouterr().out
    assert '[a]' in said
    assert '[/b]' in said
    assert f'not of the same size as the image: {folder}/labels/1.png' in said


def test_command_prints_what_is_wrong_and_exits_with_1(tmp_path: Path) -> None:
    write(tmp_path, np.where(PLAIN > 0, 255, 0).astype(np.uint8))
    path = tmp_path / 'config.py'
    config(tmp_path, classes=2).dump(path)
    process = start(sys.executable, TOOLS / 'check_labels.py', path)
    output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert 'is never trained on' in ' '.join(output.split())
