"""CamVid as the configs read it: which files, which labels, which classes."""

from pathlib import Path

import pytest
import torch
from mmseg.registry import DATASETS

from mmseg_rmi.datasets import CamVid12Dataset, CamVidDataset

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
