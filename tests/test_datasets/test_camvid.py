"""CamVid as the configs read it: which files, which labels, which classes."""

import itertools
from pathlib import Path

import pytest
import torch
from mmseg.registry import DATASETS

from mmseg_rmi.datasets import CamVid12Dataset, CamVidDataset, CamVidFoldDataset

pytestmark = pytest.mark.usefixtures('mmseg_scope')

# SegNet's order: the index of a name is its value in the label files.
NAMES = 'sky building pole road pavement tree sign_symbol fence car pedestrian bicyclist unlabelled'
CLASSES = [name.replace('_', ' ') for name in NAMES.split()]
PIPELINE = [dict(type=f'Load{what}') for what in ('ImageFromFile', 'Annotations')]


def labels_of(dataset, index: int = 0) -> torch.Tensor:
    return torch.from_numpy(dataset[index]['gt_seg_map'])


def stored(root: Path) -> torch.Tensor:
    """The labels that the fixture wrote: pixel number modulo 12."""
    return (torch.arange(9 * 12) % 12).reshape(9, 12)


def test_list_lines_resolve_inside_the_copy(make_copy):
    root = make_copy(train=2)
    dataset = CamVidDataset('train.txt', str(root))
    found = [(info['img_path'], info['seg_map_path']) for info in dataset]
    assert found == [
        (str(root / f'train/train_{i}.png'), str(root / f'trainannot/train_{i}.png'))
        for i in range(2)
    ]


@pytest.mark.parametrize('name', ['CamVidDataset', 'CamVid12Dataset'])
def test_the_registry_builds_it(make_copy, name):
    config = dict(type=name, data_root=str(make_copy(val=1)), ann_file='val.txt')
    assert len(DATASETS.build(config)) == 1


def test_unlabelled_is_ignored_and_no_other_class_moves(make_copy):
    root = make_copy(train=1)
    dataset = CamVidDataset('train.txt', str(root), pipeline=PIPELINE)
    expected = stored(root)
    expected[expected == 11] = 255
    assert torch.equal(labels_of(dataset).long(), expected)


def test_twelve_classes_keep_unlabelled(make_copy):
    root = make_copy(train=1)
    dataset = CamVid12Dataset('train.txt', str(root), pipeline=PIPELINE)
    assert torch.equal(labels_of(dataset).long(), stored(root))


def test_a_choice_of_classes_ignores_the_rest(make_copy):
    root = make_copy(train=1)
    dataset = CamVidDataset(
        'train.txt', str(root), pipeline=PIPELINE, metainfo=dict(classes=('car', 'road'))
    )
    expected = torch.full((9, 12), 255)
    expected[stored(root) == CLASSES.index('car')] = 0
    expected[stored(root) == CLASSES.index('road')] = 1
    assert torch.equal(labels_of(dataset).long(), expected)
    assert dataset.metainfo['palette'] == [[64, 0, 128], [128, 64, 128]]  # SegNet's colours


def test_class_names_follow_segnet_with_one_colour_each():
    assert list(CamVid12Dataset.METAINFO['classes']) == CLASSES
    assert list(CamVidDataset.METAINFO['classes']) == CLASSES[:11]
    for dataset in (CamVidDataset, CamVid12Dataset):
        colours = {tuple(colour) for colour in dataset.METAINFO['palette']}
        assert len(colours) == len(dataset.METAINFO['classes'])


def test_a_missing_list_names_the_converter(make_copy):
    with pytest.raises(FileNotFoundError, match=r"test\.txt'; .*dataset_converters/camvid\.py"):
        CamVidDataset('test.txt', str(make_copy(train=1)))


def test_a_malformed_line_is_named(make_copy):
    root = make_copy(train=1)
    with (root / 'train.txt').open('a') as file:
        file.write('\n/SegNet/CamVid/train/lonely.png\n')
    with pytest.raises(ValueError, match=r"train\.txt, line 3: expected .*lonely\.png'"):
        CamVidDataset('train.txt', str(root))


def test_real_class_shares_are_those_of_the_train_split(data_root):
    """Pixel shares in percent, known to a tenth from another count of the same files."""
    dataset = CamVid12Dataset('train.txt', str(data_root / 'data/camvid'), pipeline=PIPELINE)
    assert len(dataset) == 367
    counts = sum(labels_of(dataset, i).flatten().long().bincount(minlength=12) for i in range(367))
    shares = (100 * counts / counts.sum()).tolist()
    known = [16.9, 23.3, 1.0, 31.7, 4.5, 9.7, 1.2, 1.1, 5.9, 0.6, 0.3, 4.0]
    assert shares == pytest.approx(known, abs=0.1)


def drives(root: Path, **lengths: int) -> list[str]:
    """Write a list of drives, backwards; return the names of the images in order."""
    names = [f'{drive}_{i:02d}.png' for drive, length in lengths.items() for i in range(length)]
    lines = [f'train/{name} trainannot/{name}\n' for name in names]
    (root / 'train.txt').write_text(''.join(reversed(lines)))
    return names


def names_of(dataset) -> list[str]:
    return [Path(info['img_path']).name for info in dataset]


def fold_of(root: Path, fold: int, **options):
    return CamVidFoldDataset(fold, ann_file='train.txt', data_root=str(root), **options)


def test_a_fold_holds_out_a_stretch_of_each_drive(tmp_path):
    drives(tmp_path, A=4, Seq_B=7)
    held_out = fold_of(tmp_path, 1, held_out=True, num_folds=2)
    assert names_of(held_out) == [
        *('A_02.png', 'A_03.png'),
        *('Seq_B_04.png', 'Seq_B_05.png', 'Seq_B_06.png'),
    ]
    others = fold_of(tmp_path, 1, num_folds=2)
    assert names_of(others) == [
        *('A_00.png', 'A_01.png'),
        *('Seq_B_00.png', 'Seq_B_01.png', 'Seq_B_02.png', 'Seq_B_03.png'),
    ]


def test_a_fold_follows_a_drive_through_the_folders_of_a_list(tmp_path):
    """Else an image of one folder would be held out between two that are not."""
    folders = ['train', 'val', 'train', 'val', 'train', 'val']
    (tmp_path / 'train.txt').write_text(
        ''.join(f'{folder}/A_{i}.png {folder}annot/A_{i}.png\n' for i, folder in enumerate(folders))
    )
    held_out = fold_of(tmp_path, 1, held_out=True, num_folds=3)
    assert names_of(held_out) == ['A_2.png', 'A_3.png']


def test_every_image_is_held_out_once(tmp_path):
    names = drives(tmp_path, A=6, B=13)
    held_out = [names_of(fold_of(tmp_path, fold, held_out=True)) for fold in range(6)]
    assert sorted(itertools.chain.from_iterable(held_out)) == sorted(names)
    for fold, absent in enumerate(held_out):
        assert set(names_of(fold_of(tmp_path, fold))) == set(names) - set(absent)


def test_the_registry_builds_a_fold(make_copy):
    config = dict(type='CamVidFoldDataset', fold=0, num_folds=2)
    config.update(data_root=str(make_copy(train=2)), ann_file='train.txt', pipeline=PIPELINE)
    dataset = DATASETS.build(config)
    assert len(dataset) == 1
    assert labels_of(dataset).max() == 255


@pytest.mark.parametrize('fold', [-1, 6])
def test_a_fold_that_is_not_there_is_refused(tmp_path, fold):
    with pytest.raises(ValueError, match=rf'fold must be from 0 to 5, got {fold}'):
        fold_of(tmp_path, fold)


def test_numbers_of_folds_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r'fold must be an integer, got 0\.5'):
        fold_of(tmp_path, 0.5)
    with pytest.raises(ValueError, match='num_folds must be at least 2, got 1'):
        fold_of(tmp_path, 0, num_folds=1)


def test_a_drive_too_short_to_split_is_named(tmp_path):
    drives(tmp_path, A=6, B=4)
    with pytest.raises(ValueError, match=r"drive 'B': 4 image\(s\) are too few for 6 folds"):
        fold_of(tmp_path, 0)


def test_folds_of_the_real_list_share_every_class(data_root):
    """Else the mean over classes would not be over the same ones in each fold."""
    root = str(data_root / 'data/camvid')
    for fold in range(6):
        held_out = CamVidFoldDataset(
            fold, held_out=True, ann_file='train.txt', data_root=root, pipeline=PIPELINE
        )
        assert len(held_out) in (60, 61, 62)
        seen = {
            value
            for i in range(len(held_out))
            for value in labels_of(held_out, i).unique().tolist()
        }
        assert seen == {*range(11), 255}
