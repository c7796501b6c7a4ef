"""All images of a training in memory before it begins."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.dataset import RepeatDataset
from mmengine.runner import Runner
from mmseg.datasets import BaseSegDataset
from PIL import Image

from mmseg_rmi.datasets import kept_images
from mmseg_rmi.hooks import KeepImagesHook, RNGStateHook

pytestmark = pytest.mark.usefixtures('mmseg_scope')
KEEP = [dict(type='LoadKeptImageFromFile'), dict(type='LoadKeptAnnotations')]


@pytest.fixture
def make_dataset(tmp_path, monkeypatch):
    """A function that builds a data set of two images below ``tmp_path``."""
    monkeypatch.setattr(kept_images, '_KEPT', {})
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for name, value in (('a', 0), ('b', 1)):
        Image.new('RGB', (4, 3), (value,) * 3).save(tmp_path / 'images' / f'{name}.png')
        Image.fromarray(np.full((3, 4), value, np.uint8)).save(tmp_path / 'labels' / f'{name}.png')

    def make(pipeline=KEEP):
        return BaseSegDataset(
            data_root=str(tmp_path),
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            img_suffix='.png',
            pipeline=pipeline,
        )

    return make


def begin_training(dataset):
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    KeepImagesHook().before_train(SimpleNamespace(train_loop=loop))


def test_training_reads_no_file_once_it_has_begun(make_dataset, tmp_path):
    dataset = make_dataset()
    begin_training(dataset)
    shutil.rmtree(tmp_path)
    for index in (0, 1):
        assert (dataset[index]['img'] == index).all()
        assert (dataset[index]['gt_seg_map'] == index).all()


def test_images_are_loaded_before_workers_start_whatever_the_order_of_the_hooks():
    runner = SimpleNamespace(_hooks=[])
    for hook in (RNGStateHook(), KeepImagesHook()):
        Runner.register_hook(runner, hook)
    assert isinstance(runner._hooks[0], KeepImagesHook)


def test_a_data_set_of_others_is_refused_by_name(make_dataset):
    with pytest.raises(TypeError, match='got RepeatDataset: train on one without a wrapper'):
        begin_training(RepeatDataset(make_dataset(), times=2))


def test_a_pipeline_that_keeps_nothing_is_refused(make_dataset):
    with pytest.raises(ValueError, match='begin it with LoadKeptImageFromFile'):
        begin_training(make_dataset([dict(type='LoadImageFromFile')]))
