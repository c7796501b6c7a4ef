"""The demo's RMI recipe under what MMEngine and MMSegmentation can put around a training."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from helpers.tool_runs import TINY, config
from mmseg_rmi import launch

CROP = (144, 192)


def averaged_weights(cfg):
    cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='EMAHook')]


def concatenated_data_sets(cfg):
    one = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[one, copy.deepcopy(one)])


def repeated_data_set(cfg):
    one = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=one)


def mixed_images(cfg):
    one = cfg.train_dataloader.dataset
    load, finish = one.pipeline[:2], one.pipeline[2:]
    mosaic = dict(type='RandomMosaic', prob=1.0, img_scale=CROP)
    cfg.train_dataloader.dataset = dict(
        type='MultiImageMixDataset',
        dataset=dict(one, pipeline=load),
        pipeline=[mosaic, *finish],
    )


def crops_larger_than_images(cfg):
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == 'RandomCrop':
            step.crop_size = (300, 300)
    cfg.model.data_preprocessor.size = (300, 300)


def accumulated_gradients(cfg):
    cfg.optim_wrapper.accumulative_counts = 2


def epochs(cfg):
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
    cfg.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
    cfg.param_scheduler = dict(type='PolyLR', by_epoch=True, end=1)
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=True, interval=1)


def recomputed_activations(cfg):
    cfg.activation_checkpointing = ['backbone.layer1', 'decode_head']


def background_left_out(cfg):
    """reduce_zero_label makes label 0 ignored and the others one less."""
    cfg.train_dataloader.dataset.reduce_zero_label = True
    cfg.train_dataloader.dataset.pipeline[1].reduce_zero_label = True


AROUND = [
    averaged_weights,
    concatenated_data_sets,
    repeated_data_set,
    mixed_images,
    crops_larger_than_images,
    accumulated_gradients,
    epochs,
    recomputed_activations,
    background_left_out,
]


def recipe(scenes: Path, work_dir: Path) -> Config:
    cfg = Config.fromfile(config('rmi'))
    roots = {f'{split}_dataloader.dataset.data_root': str(scenes) for split in ('train', 'val')}
    cfg.merge_from_dict(TINY | roots)
    cfg.merge_from_dict({'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2})
    cfg.merge_from_dict({'train_dataloader.num_workers': 0, 'val_dataloader.num_workers': 0})
    cfg.train_dataloader.persistent_workers = cfg.val_dataloader.persistent_workers = False
    cfg.work_dir, cfg.launcher, cfg.test_dataloader = str(work_dir), 'none', None
    cfg.test_cfg = cfg.test_evaluator = None
    cfg.experiment_name = work_dir.name
    return cfg


@pytest.mark.parametrize('around', AROUND, ids=lambda around: around.__name__)
def test_training_goes_on_under(around, scenes, tmp_path):
    cfg = recipe(scenes, tmp_path / around.__name__)
    around(cfg)
    launch.save_atomically(cfg)
    runner: Runner = launch.build_runner(cfg)
    before = runner.model.decode_head.conv_seg.weight.detach().clone()
    runner.train()
    after = runner.model.decode_head.conv_seg.weight
    assert after.isfinite().all()
    assert not torch.equal(before, after)
    assert list((tmp_path / around.__name__).glob('*.pth'))


def test_the_flexible_runner_ends_with_the_weights_of_the_runner(scenes, tmp_path):
    weights = []
    for settings in (
        {},
        dict(runner_type='FlexibleRunner', strategy=dict(type='SingleDeviceStrategy')),
    ):
        cfg = recipe(scenes, tmp_path / settings.get('runner_type', 'Runner'))
        cfg.merge_from_dict(settings)
        runner = launch.build_runner(cfg)
        runner.train()
        weights.append(runner.model.state_dict())
    plain, flexible = weights
    assert [name for name in plain if not torch.equal(plain[name], flexible[name])] == []
