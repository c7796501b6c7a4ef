"""Images that are decoded once: the same as from the file, and safe from what changes them."""

import numpy as np
import pytest
from mmengine.dataset import Compose
from PIL import Image

import mmseg_rmi.datasets.kept_images as kept

pytestmark = pytest.mark.usefixtures('mmseg_scope')
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
KEEP = [dict(type='LoadKeptImageFromFile'), dict(type='LoadKeptAnnotations')]


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """A function that makes what a pipeline begins with."""
    monkeypatch.setattr(kept, '_KEPT', {})
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (8, 6, 3), np.uint8)).save(tmp_path / 'image.png')
    Image.fromarray(random.integers(0, 3, (8, 6), np.uint8)).save(tmp_path / 'label.png')

    def make(label_map=None):
        paths = dict(img_path=str(tmp_path / 'image.png'), seg_map_path=str(tmp_path / 'label.png'))
        return dict(**paths, label_map=label_map, reduce_zero_label=False, seg_fields=[])

    return make


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert np.array_equal(ours[key], value), key


@pytest.mark.parametrize('label_map', [None, {1: 255}])
def test_the_first_time_and_again_they_are_what_the_file_holds(sample, label_map):
    expected = Compose(LOAD)(sample(label_map))
    pipeline = Compose(KEEP)
    for _ in range(2):
        assert_same(pipeline(sample(label_map)), expected)


def test_the_file_is_read_once(sample, tmp_path):
    pipeline = Compose(KEEP)
    first = pipeline(sample())
    for file in tmp_path.iterdir():
        file.unlink()
    assert_same(pipeline(sample()), first)


def test_what_changes_an_image_in_place_changes_it_once(sample):
    pipeline = Compose(KEEP)
    first = pipeline(sample())
    expected = first['img'].copy(), first['gt_seg_map'].copy()
    first['img'][:], first['gt_seg_map'][:] = 0, 9
    again = pipeline(sample())
    assert np.array_equal(again['img'], expected[0])
    assert np.array_equal(again['gt_seg_map'], expected[1])


def test_labels_of_two_maps_are_told_apart(sample):
    pipeline = Compose(KEEP)
    plain, mapped = pipeline(sample()), pipeline(sample({1: 255}))
    assert 255 not in plain['gt_seg_map']
    assert 255 in mapped['gt_seg_map']
