"""A training on no images ends before it begins, and says where none were found."""

import pytest
from mmengine.dataset import ConcatDataset, DefaultSampler, InfiniteSampler, RepeatDataset
from mmseg.datasets import BaseSegDataset


def find_images(tmp_path, **settings):
    """Look in a folder of images with another suffix than that of the data set."""
    (tmp_path / 'a.png').touch()
    return BaseSegDataset(
        img_suffix='.jpg',
        metainfo=dict(classes=('road', 'sky')),
        data_root=str(tmp_path),
        data_prefix=dict(img_path='.'),
        **settings,
    )


def test_a_set_without_images_is_refused_with_its_settings(tmp_path):
    told = rf"BaseSegDataset with .*{tmp_path}.*img_suffix='\.jpg' has no images: correct"
    with pytest.raises(ValueError, match=told):
        find_images(tmp_path)


def test_a_set_of_no_sets_is_refused():
    with pytest.raises(ValueError, match=r'a ConcatDataset joins datasets=\[\]: name at least one'):
        ConcatDataset([])


@pytest.mark.parametrize('sampler', [DefaultSampler, InfiniteSampler])
def test_no_sampler_looks_for_images_that_are_not_there(tmp_path, sampler):
    empty = find_images(tmp_path, serialize_data=False)
    for nothing, told in [
        (empty, rf'a BaseSegDataset with .*{tmp_path}'),
        (ConcatDataset([empty, empty]), 'a ConcatDataset has no images'),
        (RepeatDataset(empty, times=0), 'a RepeatDataset with times=0 has no images'),
        (RepeatDataset(empty, times=-1), 'a RepeatDataset with times=-1 has no images'),
    ]:
        with pytest.raises(ValueError, match=told):
            sampler(dataset=nothing, seed=0)
