"""Cells of one seed start alike: the same weights, images and augmentation for every loss."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmseg.registry import HOOKS

from helpers.tool_runs import ROOT, load_tool
from mmseg_rmi import launch

STUDY = ROOT / 'configs' / 'study'
NAME = 'deeplabv3plus_efficientnet-lite0-d16_1xb8-{}-1160_camvid-240x320.py'
LOSSES = ('ce', 'bce', 'affinity', 'rmi', 'ce-dice', 'lovasz', 'ce-rmi')


@HOOKS.register_module(force=True)
class KeepFirstBatches(Hook):
    """Keeps the weights that training starts from, and its first batches."""

    kept: dict[str, Any]

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == 0:
            weights = {k: v.clone() for k, v in runner.model.state_dict().items()}
            KeepFirstBatches.kept = dict(weights=weights, batches=[])
        KeepFirstBatches.kept['batches'].append(
            [
                (image, sample.gt_sem_seg.data, sample.img_path)
                for image, sample in zip(
                    data_batch['inputs'], data_batch['data_samples'], strict=True
                )
            ]
        )


@pytest.fixture(scope='module')
def scenes(tmp_path_factory) -> Path:
    pytest.importorskip('timm', reason='timm, which needs torchvision, is not installed')
    folder = tmp_path_factory.mktemp('scenes')
    generator = load_tool('dataset_converters/street_scenes.py')
    generator.write_split(folder, 'train', 6, size=(72, 96), entropy=(0, 6))
    return folder


def begin(loss: str, seed: int, scenes: Path, work_dir: Path) -> dict[str, Any]:
    """Train two iterations; return what they began with."""
    cfg = Config.fromfile(STUDY / NAME.format(loss))
    cfg.merge_from_dict(
        {
            'work_dir': str(work_dir),
            'launcher': 'none',
            'log_level': 'ERROR',
            'randomness.seed': seed,
            'model.backbone.init_cfg': None,  # random weights: those of the package are a file
            'model.data_preprocessor.size': (64, 64),
            'train_pipeline.2.scale': (96, 72),
            'train_pipeline.3.crop_size': (64, 64),
            'train_dataloader.dataset.data_root': str(scenes),
            'train_dataloader.dataset.pipeline.2.scale': (96, 72),
            'train_dataloader.dataset.pipeline.3.crop_size': (64, 64),
            'train_dataloader.batch_size': 3,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'train_cfg.max_iters': 2,
            'default_hooks.checkpoint': None,
            'custom_hooks': [*cfg.custom_hooks, dict(type='KeepFirstBatches')],
            **dict.fromkeys(('val_cfg', 'val_dataloader', 'val_evaluator')),
            **dict.fromkeys(('test_cfg', 'test_dataloader', 'test_evaluator')),
        }
    )
    init_default_scope('mmseg')
    launch.build_runner(cfg).train()
    return KeepFirstBatches.kept


@pytest.fixture(scope='module')
def of_cross_entropy(scenes, tmp_path_factory) -> dict[str, Any]:
    return begin('ce', 3, scenes, tmp_path_factory.mktemp('ce'))


def differing(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """What two beginnings do not have in common."""
    assert ours['weights'].keys() == theirs['weights'].keys()
    named = [
        name
        for name, tensor in ours['weights'].items()
        if not torch.equal(tensor, theirs['weights'][name])
    ]
    for number, batches in enumerate(zip(ours['batches'], theirs['batches'], strict=True)):
        for (image, label, path), (image_, label_, path_) in zip(*batches, strict=True):
            equal = torch.equal(image, image_) and torch.equal(label, label_) and path == path_
            named += [] if equal else [f'batch {number}: {path}']
    return named


@pytest.mark.parametrize('loss', LOSSES[1:])
def test_the_same_seed_starts_every_loss_alike(loss, scenes, of_cross_entropy, tmp_path):
    assert len(of_cross_entropy['batches']) == 2
    assert differing(of_cross_entropy, begin(loss, 3, scenes, tmp_path)) == []


def test_another_seed_starts_otherwise(scenes, of_cross_entropy, tmp_path):
    named = differing(of_cross_entropy, begin('ce', 4, scenes, tmp_path))
    assert 'decode_head.conv_seg.weight' in named
    assert any(name.startswith('batch 0') for name in named)


@pytest.mark.parametrize('file', sorted(STUDY.glob('*.py')), ids=lambda file: file.stem)
def test_configs_differ_from_cross_entropy_by_the_loss_alone(file):
    ours = Config.fromfile(file, import_custom_modules=False).to_dict()
    network, batch, loss, rest = re.fullmatch(r'(.+)_(1xb\d)-(.+)-(\d+_.+)', file.name).groups()
    base = Config.fromfile(
        file.with_name(f'{network}_{batch}-ce-{rest}'), import_custom_modules=False
    ).to_dict()
    for settings in (ours, base):
        head = settings['model']['decode_head']
        del head['loss_decode']
        if head.pop('out_channels', None) == 1:  # one map is enough for two classes
            assert head.pop('threshold') == 0.5
    if re.fullmatch('ce(-weights)?-rmi(-warmup)?', loss):  # whose parts contradict each other
        assert ours['tta_model'].pop('activation') == 'softmax'
        ours.pop('ce_region_term', None)  # where they are a list of two losses
    if loss.endswith('-warmup'):  # which changes the loss in the course of the training
        assert ours['custom_hooks'].pop()['type'] == 'RegionTermWarmUpHook'
    if loss.endswith('-averaged'):  # which scores another point of the same training
        assert ours['custom_hooks'].pop() == ours.pop('averaged_weights')
    assert ours == base
