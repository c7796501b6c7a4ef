"""Published layouts of thin structures, made up in small and converted."""

import sys

import numpy as np
import pytest
from PIL import Image

from helpers.tool_runs import load_tool
from mmseg_rmi.datasets import CrackForestDataset, DRIVEFoldDataset, ISBI2012Dataset

tool = load_tool('dataset_converters/thin_structures.py')
PIPELINE = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
TRUTH = np.array([[0, 1, 0], [0, 1, 1]], np.uint8)  # of every image
pytestmark = pytest.mark.usefixtures('mmseg_scope')


def save(array, file, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(file, **options)


@pytest.fixture
def drive(tmp_path):
    """Two photographs; the left column is outside the field of view."""
    source = tmp_path / 'training'
    for number in (21, 22):
        save(np.full((2, 3, 3), number), source / 'images' / f'{number}_training.tif')
        save(255 * TRUTH, source / '1st_manual' / f'{number}_manual1.gif')
        inside = np.array([[0, 255, 255]] * 2)
        save(inside, source / 'mask' / f'{number}_training_mask.gif')
    return source


@pytest.fixture
def crackforest(tmp_path):
    savemat = pytest.importorskip('scipy.io').savemat
    source = tmp_path / 'CrackForest'
    save(np.full((2, 3, 3), 90), source / 'image' / '001.jpg')
    (source / 'groundTruth').mkdir()
    segments = dict(Segmentation=TRUTH + 1, Boundaries=TRUTH)
    savemat(source / 'groundTruth' / '001.mat', dict(groundTruth=segments))
    return source


@pytest.fixture
def isbi2012(tmp_path):
    source = tmp_path / 'isbi'
    source.mkdir()
    for name, slices in [('volume', [[[7] * 3] * 2] * 3), ('labels', [255 * (1 - TRUTH)] * 3)]:
        first, *rest = (Image.fromarray(np.array(each, np.uint8)) for each in slices)
        first.save(source / f'train-{name}.tif', save_all=True, append_images=rest)
    return source


@pytest.mark.parametrize(
    ('name', 'kind', 'count'),
    [
        ('drive', DRIVEFoldDataset, 2),
        ('crackforest', CrackForestDataset, 1),
        ('isbi2012', ISBI2012Dataset, 3),
    ],
)
def test_what_is_published_is_read_back_as_the_data_set(
    name, kind, count, request, tmp_path, monkeypatch, capsys
):
    source, out = request.getfixturevalue(name), tmp_path / 'out'
    monkeypatch.setattr(sys, 'argv', ['thin_structures.py', name, str(source), str(out)])
    tool.main()
    assert capsys.readouterr().out == f'{count} images and labels in {out}\n'
    dataset = kind(data_root=str(out), pipeline=PIPELINE)
    assert len(dataset) == count
    expected = TRUTH.copy()
    if name == 'drive':
        expected[:, 0] = 255
    for i in range(count):
        assert np.array_equal(dataset[i]['gt_seg_map'], expected)
        assert dataset[i]['img'].shape == (2, 3, 3)


def test_nothing_is_written_where_something_is_missing(drive, tmp_path):
    (drive / 'mask' / '22_training_mask.gif').unlink()
    with pytest.raises(ValueError, match=r'there is no .*22_training_mask\.gif'):
        tool.convert('drive', drive, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_another_folder_is_answered_with_what_it_lacks(tmp_path):
    with pytest.raises(
        ValueError, match=r'there is no .*images.*\.tif: name the folder that holds'
    ):
        tool.convert('drive', tmp_path, tmp_path / 'out')


def test_a_label_of_another_size_or_of_one_class_is_refused(drive, tmp_path):
    save(255 * TRUTH[:, :2], drive / '1st_manual' / '21_manual1.gif')
    with pytest.raises(ValueError, match=r'21_training\.tif is \(2, 3\) and its label \(2, 2\)'):
        tool.convert('drive', drive, tmp_path / 'out')
    save(0 * TRUTH, drive / '1st_manual' / '21_manual1.gif')
    with pytest.raises(ValueError, match='label of 21 has one class alone'):
        tool.convert('drive', drive, tmp_path / 'out')
