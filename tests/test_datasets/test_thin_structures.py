"""Vessels, cracks and membranes: their layout, their labels and their folds."""

from pathlib import Path

import numpy as np
import pytest
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_rmi.datasets import CrackForestDataset, DRIVEFoldDataset, ISBI2012Dataset
from mmseg_rmi.datasets.folds import take_fold

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
pytestmark = pytest.mark.usefixtures('mmseg_scope')


@pytest.fixture
def root(tmp_path):
    """Seven images of 4 x 6; the label of image i is 1 in i + 1 pixels and 255 in the last."""
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for i in range(7):
        label = np.zeros((4, 6), np.uint8)
        label.flat[: i + 1], label[-1, -1] = 1, 255
        Image.fromarray(np.full((4, 6, 3), i, np.uint8)).save(tmp_path / 'images' / f'{i}.png')
        Image.fromarray(label).save(tmp_path / 'labels' / f'{i}.png')
    return tmp_path


def names(dataset) -> list[str]:
    return [Path(image['img_path']).stem for image in dataset]


def test_images_are_read_with_the_labels_of_their_names(root):
    dataset = DRIVEFoldDataset(data_root=str(root), pipeline=PIPELINE)
    assert len(dataset) == 7
    for i in range(7):
        assert dataset[i]['img'].max() == i
        values, counts = np.unique(dataset[i]['gt_seg_map'], return_counts=True)
        assert values.tolist() == [0, 1, 255]
        assert counts.tolist() == [22 - i, i + 1, 1]


def test_a_fold_and_the_rest_are_all_images_and_share_none(root):
    def fold(number, held_out):
        return names(ISBI2012Dataset(number, held_out, data_root=str(root)))

    assert [fold(i, True) for i in range(3)] == [['0', '1', '2'], ['3', '4'], ['5', '6']]
    assert fold(1, False) == ['0', '1', '2', '5', '6']


def test_a_fold_is_refused_where_there_are_too_few_items():
    with pytest.raises(ValueError, match=r'2 image\(s\) are too few for 3 folds'):
        take_fold('ab', 0, 3, held_out=True)


def test_other_names_and_folders_are_read_as_well(root):
    """As MMSegmentation's own converter writes DRIVE."""
    (root / 'images').rename(root / 'training')
    for label in (root / 'labels').iterdir():
        label.rename(label.with_name(f'{label.stem}_manual1.png'))
    prefix = dict(img_path='training', seg_map_path='labels')
    dataset = DRIVEFoldDataset(
        data_root=str(root), data_prefix=prefix, seg_map_suffix='_manual1.png', pipeline=PIPELINE
    )
    assert len(dataset) == 7
    assert set(np.unique(dataset[0]['gt_seg_map'])) == {0, 1, 255}


def test_what_is_missing_is_named(root):
    (root / 'labels' / '3.png').unlink()
    with pytest.raises(ValueError, match=r'1 image\(s\) have no label, the first is .*3\.png'):
        DRIVEFoldDataset(data_root=str(root))
    with pytest.raises(ValueError, match=r'images holds no image \*\.jpg'):
        CrackForestDataset(data_root=str(root))
    with pytest.raises(FileNotFoundError, match=r'no folder .*images: tools/dataset_converters'):
        DRIVEFoldDataset(data_root=str(root / 'none'))


@pytest.mark.parametrize(
    ('name', 'count', 'share'),
    [('drive', 20, 0.125), ('crackforest', 118, 0.02), ('isbi2012', 30, 0.22)],
)
def test_real_images_have_the_share_of_the_structure_that_they_are_known_for(
    data_root, name, count, share
):
    kinds = dict(
        drive='DRIVEFoldDataset', crackforest='CrackForestDataset', isbi2012='ISBI2012Dataset'
    )
    dataset = DATASETS.build(
        dict(type=kinds[name], data_root=str(data_root / 'data' / name), pipeline=PIPELINE)
    )
    labels = np.concatenate([dataset[i]['gt_seg_map'].ravel() for i in range(len(dataset))])
    assert len(dataset) == count
    assert set(np.unique(labels)) <= {0, 1, 255}
    assert (labels == 1).sum() / (labels < 2).sum() == pytest.approx(share, abs=0.02)
