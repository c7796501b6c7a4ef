"""Every config builds, and those of the paper state its recipe.

Expected values are those of the paper and of the code its authors released, worked out by hand.
"""

import copy
import functools
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.runner import set_random_seed
from mmseg.registry import DATASETS, HOOKS, LOOPS, METRICS, MODELS, PARAM_SCHEDULERS
from PIL import Image
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_rmi.test_time import ProbabilityTTAModel

pytestmark = pytest.mark.usefixtures('mmseg_scope')

ROOT = Path(__file__).parents[1] / 'configs'
LEAVES = {path.stem: path for path in ROOT.glob('[!_]*/*.py')}
PAPER = sorted(name for name in LEAVES if '_r101-d16_' in name)


def loss_of(name: str) -> str:
    """'deeplabv3_r101-d16_4xb4-rmi-6k_camvid-479x479' is about 'rmi'."""
    return name.split('4xb4-')[1].split('_')[0].rsplit('-', 1)[0]


CROSS_ENTROPY = [name for name in PAPER if loss_of(name) == 'ce' and 'camvid12' not in name]
VOC = 'deeplabv3_r101-d16_4xb4-ce-30k_voc12aug-513x513'
CAMVID = 'deeplabv3_r101-d16_4xb4-ce-6k_camvid-479x479'
# Two of configs/rmi have no counterpart in MMSegmentation that differs by the loss alone.
COMPOSED = 'convnext-tiny_upernet_4xb2-amp-rmi-80k_cityscapes-512x1024'
BINARY = 'unet-s5-d16_fcn_4xb4-rmi-40k_drive-64x64'
SHIPPED = sorted(
    path.stem
    for path in LEAVES.values()
    if path.parent.name == 'rmi' and path.stem not in (COMPOSED, BINARY)
)
LOSSES = {
    'ce': dict(type='CrossEntropyLoss', avg_non_ignore=True),
    'bce': dict(type='SigmoidCrossEntropyLoss'),
    'affinity': dict(type='AffinityFieldLoss'),
    'rmi': dict(type='RMILoss'),
}
SCHEDULE = {  # learning rate, iterations of warm-up and in all
    'voc12aug': (0.007, 1500, 30000),
    'camvid': (0.025, 300, 6000),
    'camvid12': (0.025, 300, 6000),
}
STATISTICS = {  # mean and standard deviation of the pixels, RGB
    'voc12aug': ((116, 113, 104), (69.58, 68.68, 72.67)),
    'camvid': ((100, 103, 106), (75.61, 77.81, 76.70)),
    'camvid12': ((100, 103, 106), (75.61, 77.81, 76.70)),
}
CLASSES = {'voc12aug': 21, 'camvid': 11, 'camvid12': 12}


def data_of(name: str) -> str:
    """'deeplabv3_r101-d16_4xb4-rmi-6k_camvid12-479x479' is about 'camvid12'."""
    return name.split('_')[-1].split('-')[0]


@functools.cache
def config(name: str) -> Config:
    if name.startswith('convnext'):  # whose config imports it
        pytest.importorskip('mmpretrain.models', reason='mmpretrain, which needs torchvision')
    return Config.fromfile(LEAVES[name])


def without_weights(settings: Any) -> Any:
    """Leave out what would be downloaded."""
    if not isinstance(settings, dict):
        return settings
    kept = {key: without_weights(value) for key, value in settings.items()}
    for key, value in settings.items():
        if isinstance(value, dict) and value.get('type') == 'Pretrained':
            del kept[key]
    return ConfigDict(kept | dict.fromkeys(settings.keys() & {'pretrained'}))


BUILT: dict[str, nn.Module] = {}


def network(name: str) -> nn.Module:
    """The whole model; without memory for its weights, unless its parts read tensors."""
    settings = without_weights(config(name).model)
    if settings.backbone.type == 'TIMMBackbone':
        pytest.importorskip('timm', reason='timm, which needs torchvision, is not installed')
    if str(settings) not in BUILT:  # several configs may train, or test, one model
        with torch.device('cpu' if name.startswith(('segformer', 'convnext')) else 'meta'):
            BUILT[str(settings)] = MODELS.build(settings)
    return BUILT[str(settings)]


def on_any_device(wrapper: ConfigDict) -> dict:
    """The settings of an optimizer, without mixed precision, which wants a GPU."""
    plain = {key: value for key, value in wrapper.items() if key != 'loss_scale'}
    return plain | dict(type='OptimWrapper')


def parameter_groups(name: str) -> dict[str, dict]:
    """Map each parameter's name to the optimizer's options for it."""
    model = network(name)
    optimizer = build_optim_wrapper(model, on_any_device(config(name).optim_wrapper)).optimizer
    names = {parameter: key for key, parameter in model.named_parameters()}
    pairs = [
        (names[parameter], group)
        for group in optimizer.param_groups
        for parameter in group['params']
    ]
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


@functools.cache
def learning_rates(name: str) -> np.ndarray:
    """Run the schedule; return the rates of backbone and head at every iteration."""
    parts = nn.ModuleDict(dict(backbone=nn.Conv2d(1, 1, 1), decode_head=nn.Conv2d(1, 1, 1)))
    wrapper = build_optim_wrapper(parts, config(name).optim_wrapper)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(scheduler), default_args=dict(optimizer=wrapper))
        for scheduler in config(name).param_scheduler
    ]
    groups = {id(group['params'][0]): group for group in wrapper.optimizer.param_groups}
    backbone, head = (groups[id(part.weight)] for part in parts.values())
    rates = []
    for _ in range(config(name).train_cfg.max_iters):
        rates.append((backbone['lr'], head['lr']))
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return np.array(rates)


# Every config


@pytest.mark.parametrize('name', sorted(LEAVES))
def test_model_loss_optimizer_hooks_and_metric_build(name):
    settings = config(name)
    assert set(parameter_groups(name)) == {
        key for key, value in network(name).named_parameters() if value.requires_grad
    }
    losses = network(name).decode_head.loss_decode
    for loss in losses if isinstance(losses, nn.ModuleList) else [losses]:
        assert 'loss' in loss.loss_name
    for hook in settings.get('custom_hooks', []):
        HOOKS.build(dict(hook))
    for evaluators in (settings.val_evaluator, settings.test_evaluator):
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            METRICS.build(dict(evaluator))


def parts_of(dataset: ConfigDict) -> list[ConfigDict]:
    """The data sets that are joined or repeated."""
    return dataset.get('datasets') or [dataset.get('dataset', dataset)]


@pytest.mark.parametrize('name', sorted(LEAVES))
def test_pipelines_and_data_sets_build(name, tmp_path):
    settings = config(name)
    for loader in (settings.train_dataloader, settings.val_dataloader, settings.test_dataloader):
        for dataset in parts_of(loader.dataset):
            for folder in dataset.get('data_prefix', {}).values():
                (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            if 'ann_file' in dataset:
                list_file = tmp_path / dataset.ann_file
                list_file.parent.mkdir(parents=True, exist_ok=True)
                list_file.touch()
            built = DATASETS.build(dict(dataset, data_root=str(tmp_path), lazy_init=True))
            assert len(built.metainfo['classes']) == network(name).decode_head.num_classes
    Compose(settings.tta_pipeline)


@pytest.mark.parametrize('name', sorted(LEAVES))
def test_test_time_augmentation_averages_what_the_loss_trains(name):
    """Sigmoids of RMI and BCE, softmax of the others and of cross entropy beside RMI."""
    fusion = MODELS.build(dict(config(name).tta_model, module=network(name)))
    assert isinstance(fusion, ProbabilityTTAModel)
    sigmoid = re.search('(?<!-ce)(?<!-ce-weights)-(rmi|bce)-', name)
    assert fusion.activation == ('sigmoid' if sigmoid else 'softmax')


@pytest.mark.parametrize('name', sorted(LEAVES))
def test_loops_are_registered(name):
    for stage in ('train', 'val', 'test'):
        assert LOOPS.get(config(name)[f'{stage}_cfg'].type) is not None


@pytest.mark.parametrize('name', SHIPPED)
def test_a_shipped_config_changes_by_its_loss_alone(name):
    """By a streamed head, which has the same parameters, and what belongs to sigmoids."""
    ours, theirs = (without_scopes(each.to_dict()) for each in (config(name), original_of(name)))
    assert 'mmseg_rmi' in ours.pop('custom_imports')['imports']
    theirs.pop('custom_imports', None)
    assert ours.pop('tta_model') == dict(type='ProbabilityTTAModel')
    assert theirs.pop('tta_model') == dict(type='SegTTAModel')
    our_head, their_head = ours['model']['decode_head'], theirs['model']['decode_head']
    assert our_head.pop('loss_decode') == dict(type='RMILoss')
    assert their_head.pop('loss_decode')['type'] == 'CrossEntropyLoss'
    assert our_head.pop('type') == f'RMI{their_head.pop("type")}'
    assert ours == theirs


def without_scopes(settings: Any) -> Any:
    """What a base of MMSegmentation says, without the note that it is MMSegmentation's."""
    if isinstance(settings, dict):
        kept = {key: without_scopes(value) for key, value in settings.items()}
        return {key: value for key, value in kept.items() if key != '_scope_'}
    if isinstance(settings, (list, tuple)):
        return type(settings)(without_scopes(each) for each in settings)
    return settings


def original_of(name: str) -> Config:
    """MMSegmentation's config with cross entropy."""
    family, original = name.split('_')[0].split('-')[0], name.replace('-rmi-', '-')
    return Config.fromstring(f"_base_ = 'mmseg::{family}/{original}.py'", '.py')


def test_convnext_is_trained_alike_on_both_data_sets():
    leaves = (COMPOSED, COMPOSED.replace('4xb2', '8xb2').replace('80k_cityscapes', '160k_ade20k'))
    ours = without_scopes(config(leaves[0]).to_dict())
    ade20k = without_scopes(config(leaves[1].replace('512x1024', '512x512')).to_dict())
    assert ours['optim_wrapper'] == ade20k['optim_wrapper']
    ends = [[each.pop('end') for each in leaf['param_scheduler']] for leaf in (ours, ade20k)]
    assert ends == [[1500, 80000], [1500, 160000]]
    assert ours['param_scheduler'] == ade20k['param_scheduler']

    models = [leaf['model'] for leaf in (ours, ade20k)]
    for model, classes in zip(models, (19, 150), strict=True):
        checkpoint = model['backbone']['init_cfg'].pop('checkpoint')
        assert Path(checkpoint).name.startswith('convnext-tiny_3rdparty_32xb128-noema_in1k')
        assert model['decode_head'].pop('num_classes') == classes
        assert model['auxiliary_head'].pop('num_classes') == classes
    for part in ('backbone', 'decode_head', 'auxiliary_head'):
        assert models[0][part] == models[1][part]


def test_convnext_sees_cityscapes_as_pspnet_does():
    ours, theirs = config(COMPOSED), config('pspnet_r50-d8_4xb2-rmi-80k_cityscapes-512x1024')
    for key in ('train_dataloader', 'val_dataloader', 'train_cfg'):
        assert without_scopes(ours[key].to_dict()) == without_scopes(theirs[key].to_dict())
    assert ours.model.data_preprocessor.size == theirs.model.data_preprocessor.size


def test_vessels_are_one_channel_whose_loss_sees_every_second_pixel():
    ours = without_scopes(config(BINARY).to_dict())['model']
    theirs = without_scopes(original_of(BINARY).to_dict())['model']
    head = ours['decode_head']
    assert head.pop('loss_decode') == dict(type='RMILoss', downsample_factor=2)
    assert (head.pop('out_channels'), head.pop('threshold'), head['num_classes']) == (1, 0.5, 2)
    theirs['decode_head'].pop('loss_decode')
    assert ours == theirs
    assert network(BINARY).decode_head.conv_seg.out_channels == 1


@pytest.mark.parametrize('family', ['deeplabv3', 'deeplabv3plus', 'rmi'])
def test_readme_and_metafile_name_exactly_the_configs_of_the_family(family):
    configs = {path.stem for path in (ROOT / family).glob('*.py')}
    models = yaml.safe_load((ROOT / family / 'metafile.yaml').read_text())['Models']
    assert {model['Name'] for model in models} == configs
    assert {Path(model['Config']) for model in models} == {
        Path('configs', family, f'{name}.py') for name in configs
    }
    readme = (ROOT / family / 'README.md').read_text()
    linked = {part.split('.py)')[0] for part in readme.split('[config](./')[1:]}
    assert linked == configs


# The paper's networks


def test_every_trained_row_of_tables_1_and_4_has_a_config():
    parts = itertools.product(
        ('deeplabv3', 'deeplabv3plus'),
        LOSSES,
        ('30k_voc12aug-513x513', '6k_camvid-479x479', '6k_camvid12-479x479'),
    )
    assert set(PAPER) == {f'{net}_r101-d16_4xb4-{loss}-{data}' for net, loss, data in parts}


@pytest.mark.parametrize('name', PAPER)
def test_leaves_of_one_experiment_differ_by_the_loss_alone(name):
    method = loss_of(name)
    ours, base = (
        config(leaf).to_dict() for leaf in (name, name.replace(f'4xb4-{method}-', '4xb4-ce-'))
    )
    assert ours['model']['decode_head'].pop('loss_decode') == LOSSES[method]
    base['model']['decode_head'].pop('loss_decode')
    assert ours == base


@pytest.mark.parametrize('name', CROSS_ENTROPY)
def test_backbone_is_resnet_101_v1c_at_output_stride_16(name):
    backbone = network(name).backbone
    assert config(name).model.backbone.init_cfg.checkpoint == 'open-mmlab://resnet101_v1c'
    stem = [layer for layer in backbone.stem if isinstance(layer, nn.Conv2d)]
    assert [(layer.out_channels, layer.stride[0]) for layer in stem] == [(32, 2), (32, 1), (64, 1)]
    stages = [getattr(backbone, f'layer{number}') for number in (1, 2, 3, 4)]
    assert [len(stage) for stage in stages] == [3, 4, 23, 3]
    for stage, stride in zip(stages, (1, 2, 2, 1), strict=True):
        strides = [block.conv2.stride[0] for block in stage]
        assert strides == [stride] + [1] * (len(stage) - 1)
    dilations = [[block.conv2.dilation[0] for block in stage] for stage in stages]
    # The first block of stage 4 keeps the kernel that its pretrained stride had.
    assert dilations == [[1] * 3, [1] * 4, [1] * 23, [1, 2, 2]]
    with torch.device('meta'):
        backbone.eval()
        features = backbone(torch.empty(1, 3, 513, 513))
    # ceil(513 / s) for the strides 4, 8, 16, 16
    assert [tuple(feature.shape[1:]) for feature in features] == [
        (256, 129, 129),
        (512, 65, 65),
        (1024, 33, 33),
        (2048, 33, 33),
    ]


@pytest.mark.parametrize('name', PAPER)
def test_there_is_one_head_and_no_sampler(name):
    model = network(name)
    assert not model.with_auxiliary_head
    assert model.decode_head.sampler is None
    assert model.decode_head.num_classes == model.decode_head.out_channels == CLASSES[data_of(name)]
    assert model.decode_head.ignore_index == 255


@pytest.mark.parametrize('name', CROSS_ENTROPY)
def test_head_has_the_papers_widths_and_rates(name):
    head = network(name).decode_head
    shapes = {key: tuple(value.shape) for key, value in head.named_parameters() if value.ndim == 4}
    classes = CLASSES[data_of(name)]
    expected = {
        **{f'aspp.branches.{i}.conv.weight': (256, 2048, 3, 3) for i in (1, 2, 3)},
        'aspp.branches.0.conv.weight': (256, 2048, 1, 1),
        'aspp.image_pooling.1.conv.weight': (256, 2048, 1, 1),
        'aspp.projection.conv.weight': (256, 5 * 256, 1, 1),
        'conv_seg.weight': (classes, 256, 1, 1),
    }
    if name.startswith('deeplabv3plus'):
        expected |= {
            'decoder.reduction.conv.weight': (48, 256, 1, 1),
            'decoder.fusion.0.conv.weight': (256, 256 + 48, 3, 3),
            'decoder.fusion.1.conv.weight': (256, 256, 3, 3),
        }
    assert shapes == expected
    assert [branch.conv.dilation[0] for branch in head.aspp.branches] == [1, 6, 12, 18]
    assert head.dropout.p == 0.1
    assert head.align_corners


@pytest.mark.parametrize('name', CROSS_ENTROPY)
def test_norms_are_synchronised_with_momentum_005(name):
    norms = [layer for layer in network(name).modules() if isinstance(layer, _BatchNorm)]
    assert all(isinstance(layer, nn.SyncBatchNorm) for layer in norms)
    assert {layer.momentum for layer in norms} == {0.05}


# The paper's optimization


@pytest.mark.parametrize('name', CROSS_ENTROPY)
def test_sgd_with_momentum_and_no_nesterov(name):
    optimizer = config(name).optim_wrapper.optimizer
    lr = SCHEDULE[data_of(name)][0]
    assert optimizer.to_dict() == dict(type='SGD', lr=lr, momentum=0.9, weight_decay=1e-4)


@pytest.mark.parametrize('name', CROSS_ENTROPY)
def test_only_convolution_weights_decay_and_the_head_learns_faster(name):
    head_factor = 5 if name.startswith('deeplabv3plus') and data_of(name) == 'voc12aug' else 10
    lr = SCHEDULE[data_of(name)][0]
    layers = network(name).named_modules()
    convolutions = {f'{key}.weight' for key, layer in layers if isinstance(layer, nn.Conv2d)}
    groups = parameter_groups(name)
    assert {key for key in groups if groups[key]['weight_decay'] == 1e-4} == convolutions
    assert {groups[key]['weight_decay'] for key in groups.keys() - convolutions} == {0}
    for key, group in groups.items():
        factor = head_factor if key.startswith('decode_head.') else 1
        assert group['lr'] == pytest.approx(factor * lr), key


@pytest.mark.parametrize('name', CROSS_ENTROPY)
def test_the_rate_is_never_more_than_an_iteration_from_the_authors(name):
    """Their rate at step s = 0 .. max, from whose neighbours ours must not stray.

    Warm-up: 1e-4 + (lr - 1e-4) s / warmup. Then lr (1 - (s - warmup) / (max - warmup)) ** 0.9, at
    least 1e-6; all of it times the factor of the head. Ours approaches the floor from above.
    """
    lr, warmup, end = SCHEDULE[data_of(name)]
    head_factor = 5 if name.startswith('deeplabv3plus') and data_of(name) == 'voc12aug' else 10
    step = np.arange(end + 1)
    rising = 1e-4 + (lr - 1e-4) * step / warmup
    falling = lr * np.clip((end - step) / (end - warmup), 0, 1) ** 0.9
    authors = np.where(step <= warmup, rising, np.maximum(falling, 1e-6))
    rates = learning_rates(name)
    assert rates.shape == (end, 2)
    for column, factor in enumerate((1, head_factor)):
        neighbours = factor * np.stack([authors[:-1], authors[1:]])
        assert (rates[:, column] >= neighbours.min(axis=0) - factor * 1e-6).all()
        assert (rates[:, column] <= neighbours.max(axis=0) + factor * 1e-6).all()


@pytest.mark.parametrize('name', CROSS_ENTROPY)
def test_the_rate_starts_at_1e4_peaks_at_the_end_of_warm_up_and_ends_at_the_floor(name):
    lr, warmup, end = SCHEDULE[data_of(name)]
    rates = learning_rates(name)[:, 0]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[warmup - 1] == pytest.approx(lr)
    assert rates.max() == pytest.approx(lr)
    assert rates[end - 1] == pytest.approx(1e-6)
    assert (np.diff(rates[:warmup]) > 0).all()
    assert (np.diff(rates[warmup:]) < 0).all()


@pytest.mark.parametrize('name', PAPER)
def test_a_batch_has_16_images_as_the_name_says(name):
    gpus, images = name.split('_')[2].split('-')[0].split('xb')
    assert config(name).train_dataloader.batch_size == int(images)
    assert int(gpus) * int(images) == config(name).auto_scale_lr.base_batch_size == 16


# The paper's data


@pytest.mark.parametrize('name', CROSS_ENTROPY)
def test_training_and_evaluation_use_the_papers_splits(name):
    def lists(loader: ConfigDict) -> list[str]:
        return [part.ann_file for part in parts_of(loader.dataset)]

    found = [lists(config(name)[f'{stage}_dataloader']) for stage in ('train', 'val', 'test')]
    voc = {part: f'ImageSets/Segmentation/{part}.txt' for part in ('train', 'aug', 'val')}
    assert (
        found
        == {
            'voc12aug': [[voc['train'], voc['aug']], [voc['val']], [voc['val']]],
            'camvid': [['trainval.txt'], ['test.txt'], ['test.txt']],
        }[data_of(name)]
    )


@pytest.mark.parametrize('name', [name for name in PAPER if 'camvid12' in name])
def test_twelve_class_configs_read_twelve_classes_everywhere(name):
    loaders = (config(name)[f'{stage}_dataloader'] for stage in ('train', 'val', 'test'))
    assert {loader.dataset.type for loader in loaders} == {'CamVid12Dataset'}


@pytest.fixture
def picture(tmp_path) -> dict:
    """A noisy image of CamVid's size, with labels in blocks of 8 x 8 pixels."""
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (360, 480, 3), dtype=np.uint8)
    labels = np.kron(generator.integers(0, 11, (45, 60)), np.ones((8, 8))).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / 'image.png')
    Image.fromarray(labels).save(tmp_path / 'labels.png')
    return dict(
        img_path=str(tmp_path / 'image.png'),
        seg_map_path=str(tmp_path / 'labels.png'),
        label_map=None,
        reduce_zero_label=False,
        seg_fields=[],
    )


def train_pipeline(name: str) -> list[dict]:
    dataset = config(name).train_dataloader.dataset
    pipelines = [part.pipeline for part in parts_of(dataset)]
    assert all(pipeline == pipelines[0] for pipeline in pipelines)
    return pipelines[0]


def scaled(name: str, picture: dict, times: int) -> Iterator[dict]:
    """Run the pipeline up to the crop."""
    pipeline = train_pipeline(name)
    crop = [transform['type'] for transform in pipeline].index('RandomCrop')
    set_random_seed(0)
    until_crop = Compose(pipeline[:crop])
    return (until_crop(copy.deepcopy(picture)) for _ in range(times))


@pytest.mark.parametrize('name', CROSS_ENTROPY)
def test_nothing_but_scale_crop_and_flip_augments(name):
    kinds = [transform['type'] for transform in train_pipeline(name)]
    scale = 'RandomChoice' if data_of(name) == 'voc12aug' else 'RandomResize'
    assert kinds == [
        'LoadImageFromFile',
        'LoadAnnotations',
        scale,
        'RandomCrop',
        'RandomFlip',
        'PackSegInputs',
    ]
    side = int(name.split('x')[-1])
    assert side == {'voc12aug': 513, 'camvid': 479}[data_of(name)]
    assert train_pipeline(name)[3].to_dict() == dict(type='RandomCrop', crop_size=(side, side))
    assert config(name).model.data_preprocessor.size == (side, side)


def test_voc_scales_are_the_seven_quarters_from_a_half_to_two(picture):
    shapes = {results['img'].shape[:2] for results in scaled(VOC, picture, times=60)}
    quarters = (2, 3, 4, 5, 6, 7, 8)
    assert shapes == {(360 * q // 4, 480 * q // 4) for q in quarters}


def test_camvid_scales_fill_075_to_125_evenly(picture):
    shapes = np.array([results['img'].shape[:2] for results in scaled(CAMVID, picture, times=150)])
    scales = shapes / (360, 480)
    assert np.abs(scales[:, 0] - scales[:, 1]).max() < 2 / 360  # sides are whole pixels
    counts, _ = np.histogram(scales[:, 1], bins=5, range=(0.75, 1.25))
    assert counts.sum() == 150
    # 30 to a bin; five standard deviations of a binomial count
    assert np.abs(counts - 30).max() < 5 * np.sqrt(150 * 0.2 * 0.8)


@pytest.mark.parametrize('name', [VOC, CAMVID])
def test_images_are_scaled_bicubically_and_labels_to_the_nearest_by_pillow(name, picture):
    image, labels = (Image.open(picture[key]) for key in ('img_path', 'seg_map_path'))
    for results in scaled(name, picture, times=4):
        size = results['img'].shape[1::-1]
        expected = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
        assert np.array_equal(results['img'][..., ::-1], expected)  # mmcv reads BGR
        expected = np.asarray(labels.resize(size, Image.Resampling.NEAREST))
        assert np.array_equal(results['gt_seg_map'], expected)


@pytest.mark.parametrize('name', [VOC, CAMVID])
def test_half_of_the_images_are_flipped(name, picture):
    set_random_seed(0)
    pipeline = Compose(train_pipeline(name))
    flips = [pipeline(copy.deepcopy(picture))['data_samples'].flip for _ in range(60)]
    assert 15 < sum(flips) < 45  # four standard deviations about 30


@pytest.mark.parametrize('name', [VOC, CAMVID])
def test_what_a_small_image_leaves_of_the_crop_is_mean_coloured_and_ignored(name, picture):
    set_random_seed(0)
    preprocessor = MODELS.build(config(name).model.data_preprocessor)
    pipeline = Compose(train_pipeline(name))
    side = config(name).model.data_preprocessor.size[0]
    seen = set()
    for _ in range(12):
        sample = pipeline(copy.deepcopy(picture))
        _, height, width = sample['inputs'].shape
        batch = preprocessor(pseudo_collate([sample]), training=True)
        labels = batch['data_samples'][0].gt_sem_seg.data[0]
        assert batch['inputs'].shape == (1, 3, side, side)
        assert labels.shape == (side, side)
        padding = torch.ones(side, side, dtype=torch.bool)
        padding[:height, :width] = False
        assert (batch['inputs'][0][:, padding] == 0).all()
        assert (labels[padding] == 255).all()
        assert (labels[~padding] != 255).all()
        seen.add(bool(padding.any()))
    assert True in seen


@pytest.mark.parametrize('name', PAPER)
def test_pixels_are_normalised_by_the_statistics_of_the_data_set_in_rgb(name, tmp_path, picture):
    mean, deviation = STATISTICS[data_of(name)]
    colour = np.add(mean, (10, 30, 50)).astype(np.uint8)
    Image.fromarray(np.broadcast_to(colour, (360, 480, 3))).save(tmp_path / 'image.png')
    sample = Compose(config(name).test_pipeline)(copy.deepcopy(picture))
    batch = MODELS.build(config(name).model.data_preprocessor)(pseudo_collate([sample]))
    expected = torch.tensor((10, 30, 50)) / torch.tensor(deviation)
    torch.testing.assert_close(
        batch['inputs'], expected.view(1, 3, 1, 1).expand(1, 3, 360, 480), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize('name', CROSS_ENTROPY)
def test_evaluation_sees_whole_images_in_their_own_size(name, picture):
    assert config(name).model.test_cfg == dict(mode='whole')
    sample = Compose(config(name).test_dataloader.dataset.pipeline)(copy.deepcopy(picture))
    assert sample['inputs'].shape == (3, 360, 480)
    assert sample['data_samples'].gt_sem_seg.shape == (360, 480)


@pytest.mark.parametrize(('name', 'scales'), [(VOC, 6), (CAMVID, 3)])
def test_test_time_augmentation_flips_every_scale(name, scales, picture):
    views = Compose(config(name).tta_pipeline)(copy.deepcopy(picture))['inputs']
    widths = [view.shape[2] for view in views]
    assert len(set(widths)) == scales
    assert all(widths.count(width) == 2 for width in widths)


# Running


@pytest.mark.parametrize('name', PAPER)
def test_runs_are_seeded_checked_and_resumable(name):
    assert config(name).randomness.seed == 0
    hooks = [hook.type for hook in config(name).custom_hooks]
    assert hooks == ['CheckInvalidLossHook', 'RNGStateHook']
    assert config(name).default_hooks.checkpoint.by_epoch is False
