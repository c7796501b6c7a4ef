"""Child configs that train with RMI: of every family that MMSegmentation ships, and of users."""

import copy
import sys
from pathlib import Path
from typing import Any

import mmseg
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from helpers.imports import can_import
from helpers.tool_runs import TOOLS, load_tool, run
from mmseg_rmi import launch
from mmseg_rmi.losses import RMILoss
from mmseg_rmi.test_time.probabilities import find_activation

pytestmark = pytest.mark.usefixtures('mmseg_scope')

swap_loss = load_tool('swap_loss.py')
SHIPPED = Path(mmseg.__file__).parent / '.mim' / 'configs'
SIDE = 64

VIT_OF_4_LAYERS = {'backbone.num_layers': 4, 'backbone.out_indices': [0, 1, 2, 3]}
NARROW_HEAD = {'decode_head.channels': 64}
VIT_OF_64 = {**VIT_OF_4_LAYERS, **NARROW_HEAD, 'backbone.img_size': (SIDE, SIDE)}
FAMILIES = {  # a config of each, and what makes its model small
    'ann': ('ann_r50-d8_4xb2-40k_cityscapes-512x1024', {}),
    'apcnet': ('apcnet_r50-d8_4xb2-40k_cityscapes-512x1024', {}),
    'beit': ('beit-base_upernet_8xb2-160k_ade20k-640x640', VIT_OF_64),
    'bisenetv1': ('bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024', {}),
    'bisenetv2': ('bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024', {}),
    'ccnet': ('ccnet_r50-d8_4xb2-40k_cityscapes-512x1024', {}),
    'cgnet': ('cgnet_fcn_4xb4-60k_cityscapes-680x680', {}),
    'convnext': ('convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512', NARROW_HEAD),
    'danet': ('danet_r50-d8_4xb2-40k_cityscapes-512x1024', {}),
    'ddrnet': ('ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024', {}),
    'deeplabv3': ('deeplabv3_r101-d16-mg124_4xb2-40k_cityscapes-512x1024', NARROW_HEAD),
    'deeplabv3plus': ('deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024', {}),
    'dmnet': ('dmnet_r50-d8_4xb2-40k_cityscapes-512x1024', {}),
    'dnlnet': ('dnl_r50-d8_4xb2-40k_cityscapes-512x1024', {}),
    'dpt': ('dpt_vit-b16_8xb2-160k_ade20k-512x512', VIT_OF_4_LAYERS),
    'dsdl': ('cityscapes', NARROW_HEAD),
    'emanet': ('emanet_r50-d8_4xb2-80k_cityscapes-512x1024', {}),
    'encnet': ('encnet_r50-d8_4xb2-40k_cityscapes-512x1024', {}),
    'erfnet': ('erfnet_fcn_4xb4-160k_cityscapes-512x1024', {}),
    'fastfcn': ('fastfcn_r50-d32_jpu_aspp_4xb2-80k_cityscapes-512x1024', NARROW_HEAD),
    'fastscnn': ('fast_scnn_8xb4-160k_cityscapes-512x1024', {}),
    'fcn': ('fcn_r18-d8_4xb2-80k_cityscapes-512x1024', {}),
    'gcnet': ('gcnet_r50-d8_4xb2-40k_cityscapes-512x1024', {}),
    'hrnet': ('fcn_hr18s_4xb2-160k_cityscapes-512x1024', {}),
    'icnet': ('icnet_r18-d8_4xb2-80k_cityscapes-832x832', {}),
    'isanet': ('isanet_r50-d8_4xb2-40k_cityscapes-512x1024', {}),
    'knet': ('knet-s3_r50-d8_upernet_8xb2-adamw-80k_ade20k-512x512', {}),
    'mae': ('mae-base_upernet_8xb2-amp-160k_ade20k-512x512', VIT_OF_64),
    'mobilenet_v2': ('mobilenet-v2-d8_deeplabv3_4xb2-80k_cityscapes-512x1024', {}),
    'mobilenet_v3': ('mobilenet-v3-d8-s_lraspp_4xb4-320k_cityscapes-512x1024', {}),
    'nonlocal_net': ('nonlocal_r50-d8_4xb2-40k_cityscapes-512x1024', {}),
    'ocrnet': ('ocrnet_hr18s_4xb2-160k_cityscapes-512x1024', {}),
    'pidnet': ('pidnet-s_2xb6-120k_1024x1024-cityscapes', {}),
    'poolformer': ('fpn_poolformer_s12_8xb4-40k_ade20k-512x512', {}),
    'psanet': ('psanet_r50-d8_4xb2-40k_cityscapes-512x1024', {}),
    'pspnet': ('pspnet_r18-d8_4xb2-80k_cityscapes-512x1024', {}),
    'resnest': ('resnest_s101-d8_fcn_4xb2-80k_cityscapes-512x1024', {'backbone.depth': 50}),
    'segformer': ('segformer_mit-b0_8xb2-160k_ade20k-512x512', {}),
    'segmenter': ('segmenter_vit-t_mask_8xb1-160k_ade20k-512x512', {}),
    'segnext': ('segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512', {}),
    'sem_fpn': ('fpn_r50_4xb2-80k_cityscapes-512x1024', {}),
    'setr': ('setr_vit-l_pup_8xb1-80k_cityscapes-768x768', VIT_OF_4_LAYERS),
    'stdc': ('stdc1_4xb12-80k_cityscapes-512x1024', {}),
    'swin': ('swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512', NARROW_HEAD),
    'twins': ('twins_svt-s_uperhead_8xb2-160k_ade20k-512x512', NARROW_HEAD),
    'unet': ('unet-s5-d16_deeplabv3_4xb4-ce-1.0-dice-3.0-40k_drive-64x64', {}),
    'upernet': ('upernet_r18_4xb2-40k_cityscapes-512x1024', NARROW_HEAD),
    'vit': ('vit_deit-s16_upernet_8xb2-160k_ade20k-512x512', NARROW_HEAD),
}
REFUSED = {
    'mask2former': ('mask2former_r50_8xb2-90k_cityscapes-512x1024', 'classifies whole masks'),
    'maskformer': ('maskformer_r50-d32_8xb2-160k_ade20k-512x512', 'classifies whole masks'),
    'point_rend': ('pointrend_r50_4xb2-80k_cityscapes-512x1024', 'on single points'),
    'san': ('san-vit-b16_coco-stuff164k-640x640', 'classifies whole masks'),
    'vpd': ('vpd_sd_4xb8-25k_nyu-480x480', 'estimates depth'),
}
NEEDS_MMPRETRAIN = ('convnext', 'poolformer')
LARGE_IMAGES = {'mobilenet_v3': 400}  # pools 49 x 49 cells of 8 pixels
NEEDS_OPERATORS = ('ccnet', 'psanet')  # that mmcv compiles


def shipped(family: str) -> str:
    name, _ = {**FAMILIES, **REFUSED}[family]
    return str(SHIPPED / family / f'{name}.py')


def without_weights(settings: Any) -> Any:
    """Drop what would be downloaded."""
    if isinstance(settings, dict):
        return ConfigDict(
            {
                key: without_weights(value)
                for key, value in settings.items()
                if key != 'pretrained'
                and not (isinstance(value, dict) and value.get('type') == 'Pretrained')
            }
        )
    if isinstance(settings, (list, tuple)):
        return type(settings)(map(without_weights, settings))
    return settings


def shrink_resnet(model: ConfigDict) -> None:
    """Make a ResNet-18 of a deeper one, and its heads fit for a quarter of the channels."""
    backbone = model.backbone
    if not backbone.type.startswith('ResNetV') or backbone.depth <= 34 or 'neck' in model:
        return
    backbone.depth = 18
    for head in (model.decode_head, model.auxiliary_head):
        head = head.get('kernel_generate_head', head)
        channels = head.in_channels
        divide = isinstance(channels, int)
        head.in_channels = channels // 4 if divide else [each // 4 for each in channels]


def build(cfg: Config, settings: dict[str, Any] | None = None, side: int = SIDE) -> nn.Module:
    """The model for one CPU and square images, from random weights, smaller than it was."""
    cfg = copy.deepcopy(cfg)
    cfg.model = without_weights(cfg.model)
    cfg.launcher = 'none'
    launch.fall_back_to_cpu(cfg)
    shrink_resnet(cfg.model)
    cfg.merge_from_dict({f'model.{name}': value for name, value in (settings or {}).items()})
    cfg.model.data_preprocessor = dict(
        type='SegDataPreProcessor', mean=[128.0] * 3, std=[64.0] * 3, size=(side, side)
    )
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def train_one_step(model: nn.Module, side: int = SIDE) -> dict[str, float]:
    """Take one step on two images of noise and return the losses."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int, high: int) -> torch.Tensor:
        return torch.randint(0, high, shape, generator=generator)

    samples = [
        SegDataSample(
            gt_sem_seg=PixelData(data=noise(1, side, side, high=2)),
            gt_edge_map=PixelData(data=noise(1, side, side, high=2)),
            metainfo=dict.fromkeys(('img_shape', 'ori_shape'), (side, side)),
        )
        for _ in range(2)
    ]
    images = [noise(3, side, side, high=256).byte() for _ in range(2)]
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    logged = model.train().train_step(dict(inputs=images, data_samples=samples), optimizer)
    return {name: float(value) for name, value in logged.items() if 'loss' in name}


def regional_losses(module: nn.Module) -> list[RMILoss]:
    return [each for each in module.modules() if isinstance(each, RMILoss)]


def swap(config: Any, folder: Path, **settings: Any) -> tuple[Config, list]:
    out = folder / 'child.py'
    decisions = swap_loss.swap_loss(str(config), out, **settings)
    return Config.fromfile(out, import_custom_modules=False), decisions


# Every family


def test_every_shipped_family_is_tried():
    folders = {path.parent.name for path in SHIPPED.glob('[!_]*/*.py')}
    assert {*FAMILIES, *REFUSED} >= folders


@pytest.mark.parametrize('family', FAMILIES)
def test_a_family_builds_and_trains(family, tmp_path):
    if family in NEEDS_MMPRETRAIN and not can_import('mmpretrain.models'):
        pytest.skip('needs mmpretrain')
    if family in NEEDS_OPERATORS and not can_import('mmcv.ops'):
        pytest.skip("needs mmcv's compiled operators")
    cfg, _ = swap(shipped(family), tmp_path)
    assert cfg.custom_imports['imports'][-1] == 'mmseg_rmi'
    side = LARGE_IMAGES.get(family, SIDE)
    model = build(cfg, FAMILIES[family][1], side)
    assert regional_losses(model.decode_head)
    if model.with_auxiliary_head:
        assert not regional_losses(model.auxiliary_head)
    if 'tta_model' in cfg:
        assert MODELS.build(dict(cfg.tta_model, module=model)).activation == 'sigmoid'
    losses = train_one_step(model, side)
    assert losses['loss'] > 0
    assert all(torch.isfinite(torch.tensor(value)) for value in losses.values())


@pytest.mark.parametrize('family', REFUSED)
def test_a_family_without_class_maps_is_refused_with_its_reason(family, tmp_path):
    with pytest.raises(swap_loss.NotApplicable, match=REFUSED[family][1]):
        swap(shipped(family), tmp_path)
    assert not list(tmp_path.iterdir())


# Decisions


def test_a_head_with_a_streaming_twin_becomes_it_and_nothing_else_changes(tmp_path):
    cfg, decisions = swap(shipped('pspnet'), tmp_path)
    ours, theirs = cfg.model.to_dict(), Config.fromfile(shipped('pspnet')).model.to_dict()
    assert ours['decode_head'].pop('type') == 'RMIPSPHead'
    assert theirs['decode_head'].pop('type') == 'PSPHead'
    assert ours['decode_head'].pop('loss_decode') == dict(type='RMILoss')
    del theirs['decode_head']['loss_decode']
    assert ours == theirs
    assert all(why for _, _, why in decisions)


def test_an_ohem_sampler_goes_where_rmi_comes_and_stays_elsewhere(tmp_path):
    cfg, decisions = swap(shipped('stdc'), tmp_path)
    assert cfg.model.decode_head.sampler is None
    assert cfg.model.auxiliary_head[0].sampler.type == 'OHEMPixelSampler'
    assert ('decode_head', 'sampler=None', 'OHEMPixelSampler needs a loss for each pixel') in (
        decisions
    )


def test_a_list_of_losses_gives_way_as_a_whole(tmp_path):
    cfg, decisions = swap(shipped('unet'), tmp_path)
    assert cfg.model.decode_head.loss_decode == dict(type='RMILoss')
    assert any(what == 'CrossEntropyLoss + DiceLoss -> RMILoss' for _, what, _ in decisions)


def test_class_weights_are_kept_and_named(tmp_path):
    base = Config.fromfile(shipped('cgnet')).model.decode_head.loss_decode
    cfg, decisions = swap(shipped('cgnet'), tmp_path)
    expected = dict(type='RMILoss', class_weight=base.class_weight)
    assert cfg.model.decode_head.loss_decode == expected
    assert any(what == 'class_weight kept' for _, what, _ in decisions)


def test_the_last_head_of_a_cascade_gets_rmi_and_the_others_on_request(tmp_path):
    cfg, _ = swap(shipped('ocrnet'), tmp_path)
    kinds = [head.loss_decode.type for head in cfg.model.decode_head]
    assert kinds == ['CrossEntropyLoss', 'RMILoss']
    (tmp_path / 'child.py').unlink()
    cfg, _ = swap(shipped('ocrnet'), tmp_path, auxiliary=True)
    first, last = (head.loss_decode for head in cfg.model.decode_head)
    assert first == dict(type='RMILoss', loss_weight=0.4)
    assert last == dict(type='RMILoss')


@pytest.mark.parametrize('family', ['pspnet', 'bisenetv2', 'stdc', 'ddrnet', 'pidnet'])
def test_auxiliary_heads_get_rmi_on_request_and_train(family, tmp_path):
    cfg, _ = swap(shipped(family), tmp_path, auxiliary=True)
    model = build(cfg)
    expected = dict(pspnet=2, bisenetv2=5, stdc=3, ddrnet=2, pidnet=2)
    assert len(regional_losses(model)) == expected[family]
    assert train_one_step(model)['loss'] > 0


def test_losses_looked_up_by_number_keep_their_number(tmp_path):
    cfg, _ = swap(shipped('pidnet'), tmp_path)
    kinds = [loss.type for loss in cfg.model.decode_head.loss_decode]
    assert kinds == ['CrossEntropyLoss', 'RMILoss', 'BoundaryLoss', 'SigmoidCrossEntropyLoss']


# The region term beside the losses that are there


def main_head(cfg: Config) -> ConfigDict:
    heads = cfg.model.decode_head
    head = heads[-1] if isinstance(heads, list) else heads
    return head.get('kernel_generate_head', head)


ONE_LOSS = dict(type='RMILoss', pixel_term='ce', loss_lambda=2 / 3, loss_weight=1.5)


@pytest.mark.parametrize('family', ['pspnet', 'ocrnet', 'knet', 'stdc'])
def test_cross_entropy_and_half_a_region_term_become_one_loss(family, tmp_path):
    cfg, _ = swap(shipped(family), tmp_path, beside=True)
    base = Config.fromfile(shipped(family))
    ours, theirs = (main_head(each) for each in (cfg, base))
    assert ours.loss_decode == ONE_LOSS
    assert ours.type.removeprefix('RMI') == theirs.type
    assert cfg.get('tta_model') == base.get('tta_model')
    assert len(regional_losses(build(cfg))) == 1


def test_that_loss_is_cross_entropy_and_half_the_region_term(tmp_path):
    kept = dict(type='CrossEntropyLoss', loss_weight=0.4)
    base = user_config(tmp_path, f'decode_head=dict({HEAD}, loss_decode={kept})')
    cfg, _ = swap(base, tmp_path, beside=True)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 64, 64, generator=generator)
    labels = torch.randint(2, (2, 64, 64), generator=generator)
    labels[:, :9, :20] = 255
    one, entropy, region = (
        MODELS.build(loss)(logits, labels, ignore_index=255)
        for loss in (
            cfg.model.decode_head.loss_decode,
            dict(kept, avg_non_ignore=True),
            dict(type='RMILoss', loss_lambda=0.0, loss_weight=0.2),
        )
    )
    assert entropy > 0.2
    assert region > 0.2
    torch.testing.assert_close(one, entropy + region, rtol=1e-3, atol=0)


def test_the_region_term_beside_trains_in_a_streamed_head(tmp_path):
    cfg, decisions = swap(shipped('pspnet'), tmp_path, beside=True)
    assert cfg.model.decode_head.type == 'RMIPSPHead'
    assert any(what == 'CrossEntropyLoss -> RMILoss' for _, what, _ in decisions)
    model = build(cfg)
    assert find_activation(model.decode_head) == 'softmax'
    losses = train_one_step(model)
    assert losses['loss'] == pytest.approx(
        sum(value for name, value in losses.items() if name != 'loss')
    )


OTHER_LOSSES = {
    'a list': [dict(type='CrossEntropyLoss', loss_weight=0.4), dict(type='DiceLoss')],
    'of sigmoids': dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.4),
    'not an average': dict(type='CrossEntropyLoss', reduction='sum', loss_weight=0.4),
    'weighted by class': dict(type='CrossEntropyLoss', class_weight=[1.0, 3.0], loss_weight=0.4),
    'another': dict(type='FocalLoss', loss_weight=0.4),
}


@pytest.mark.parametrize('losses', OTHER_LOSSES.values(), ids=OTHER_LOSSES)
def test_other_losses_stay_and_the_region_term_comes_beside_them(losses, tmp_path):
    base = user_config(tmp_path, f'decode_head=dict({HEAD}, loss_decode={losses})')
    cfg, _ = swap(base, tmp_path, beside=True)
    *kept, region = cfg.model.decode_head.loss_decode
    assert kept == (losses if isinstance(losses, list) else [losses])
    assert region == dict(type='RMILoss', loss_lambda=0.0, loss_weight=0.2)
    assert cfg.model.decode_head.type == Config.fromfile(base).model.decode_head.type


@pytest.mark.parametrize('said', ['', ", loss_decode=dict(type='CrossEntropyLoss')"])
def test_cross_entropy_of_one_channel_stays(said, tmp_path):
    losses = dict(type='CrossEntropyLoss')
    head = f'{HEAD}, out_channels=1{said}'
    base = user_config(tmp_path, f'decode_head=dict({head})')
    cfg, _ = swap(base, tmp_path, beside=True)
    kept, region = cfg.model.decode_head.loss_decode
    assert kept.type == losses['type']
    assert region.type == 'RMILoss'


def test_the_region_term_beside_a_list_is_logged_apart_and_trained(tmp_path):
    cfg, _ = swap(shipped('unet'), tmp_path, beside=True)
    losses = train_one_step(build(cfg))
    parts = [losses[f'decode.loss_{name}'] for name in ('ce', 'dice', 'rmi')]
    assert all(part > 0 for part in parts)


@pytest.mark.parametrize('name', ['tta_model', 'test_cfg'])
def test_what_averages_or_refines_is_told_what_the_losses_beside_rmi_give(tmp_path, name):
    kind = {'tta_model': 'ProbabilityTTAModel', 'test_cfg': 'DenseCRFTestLoop'}[name]
    head = f'{HEAD}, loss_decode={OTHER_LOSSES["weighted by class"]}'
    base = user_config(tmp_path, f'decode_head=dict({head})', f'{name} = dict(type={kind!r})')
    cfg, decisions = swap(base, tmp_path, beside=True)
    assert cfg[name] == dict(type=kind, activation='softmax')
    assert (name, "activation='softmax'") in [decision[:2] for decision in decisions]


def test_losses_that_contradict_each_other_are_left_to_the_user(tmp_path):
    head = f'{HEAD}, loss_decode={OTHER_LOSSES["a list"]}'
    fusion = "tta_model = dict(type='ProbabilityTTAModel')"
    base = user_config(tmp_path, f'decode_head=dict({head})', fusion)
    cfg, decisions = swap(base, tmp_path, beside=True)
    assert cfg.tta_model == dict(type='ProbabilityTTAModel')
    assert ('tta_model', 'check it') in [decision[:2] for decision in decisions]


def test_an_activation_that_was_set_stays_beside_rmi(tmp_path):
    set_by_hand = dict(type='ProbabilityTTAModel', activation='sigmoid')
    base = user_config(tmp_path, f'decode_head=dict({HEAD})', f'tta_model = {set_by_hand}')
    cfg, _ = swap(base, tmp_path, beside=True)
    assert cfg.tta_model == set_by_hand


@pytest.mark.parametrize('name', ['tta_model', 'test_cfg'])
def test_an_activation_that_was_set_gives_way_to_that_of_rmi(tmp_path, name):
    kind = {'tta_model': 'ProbabilityTTAModel', 'test_cfg': 'DenseCRFTestLoop'}[name]
    more = f"""
{name} = dict(type={kind!r}, activation='softmax')
val_evaluator = dict(type='RegionMutualInformationMetric', activation='softmax')
"""
    cfg, decisions = swap(user_config(tmp_path, f'decode_head=dict({HEAD})', more), tmp_path)
    assert cfg[name].activation == 'sigmoid'
    assert ('val_evaluator', 'check it') in [decision[:2] for decision in decisions]


@pytest.mark.parametrize('beside', [False, True])
def test_a_loss_of_the_users_own_need_not_be_known_here(tmp_path, beside):
    heads = ', '.join(
        f"{name}=dict({HEAD}, loss_decode=dict(type='MyLoss'))"
        for name in ('decode_head', 'auxiliary_head')
    )
    base = user_config(tmp_path, heads, "tta_model = dict(type='ProbabilityTTAModel')")
    cfg, decisions = swap(base, tmp_path, beside=beside)
    assert cfg.model.auxiliary_head.loss_decode == dict(type='MyLoss')
    assert any(what == 'check it' for _, what, _ in decisions) == beside


def test_a_child_that_cannot_be_built_is_not_left_behind(tmp_path):
    broken = f"dict({HEAD}, loss_decode=dict(type='RMILoss', sigma=1))"
    base = user_config(tmp_path, f'decode_head=dict({HEAD}), auxiliary_head={broken}')
    with pytest.raises(TypeError, match='sigma'):
        swap(base, tmp_path)
    assert not (tmp_path / 'child.py').exists()


def test_a_head_without_a_loss_gets_the_region_term_beside_its_default(tmp_path):
    cfg, _ = swap(user_config(tmp_path, f'decode_head=dict({HEAD})'), tmp_path, beside=True)
    assert cfg.model.decode_head.loss_decode == ONE_LOSS


def test_weights_of_all_losses_that_stay_are_checked(tmp_path):
    losses = "[dict(type='DiceLoss'), dict(type='FocalLoss', loss_weight='1')]"
    config = user_config(tmp_path, f'decode_head=dict({HEAD}, loss_decode={losses})')
    with pytest.raises(swap_loss.NotApplicable, match="loss_weight of FocalLoss is '1'"):
        swap(config, tmp_path, beside=True)


@pytest.mark.parametrize('family', ['ddrnet', 'pidnet'])
def test_losses_looked_up_by_number_have_no_room_beside_them(family, tmp_path):
    with pytest.raises(swap_loss.NotApplicable, match=r'up by number, .* leave out --beside'):
        swap(shipped(family), tmp_path, beside=True)


# Configs of users


def user_config(folder: Path, model: str, more: str = '') -> Path:
    path = folder / 'mine.py'
    path.write_text(f'model = dict({model})\n{more}')
    return path


HEAD = "type='FCNHead', in_channels=3, channels=3, num_classes=2"


def test_a_loss_that_is_the_heads_default_is_replaced(tmp_path):
    cfg, _ = swap(user_config(tmp_path, f'decode_head=dict({HEAD})'), tmp_path)
    assert cfg.model.decode_head.loss_decode == dict(type='RMILoss')


@pytest.mark.parametrize('imports', ["'json'", "['json', 'csv']"])
def test_modules_that_the_user_imports_stay(tmp_path, imports):
    more = f'custom_imports = dict(imports={imports}, allow_failed_imports=True)\n'
    cfg, _ = swap(user_config(tmp_path, f'decode_head=dict({HEAD})', more), tmp_path)
    theirs = ['json'] if imports == "'json'" else ['json', 'csv']
    assert cfg.custom_imports.imports == [*theirs, 'mmseg_rmi']


def test_the_merge_that_the_documentation_shows_keeps_what_the_base_imports(tmp_path):
    """docs/faq.md: a child's list replaces its base's, so it names both."""
    base = tmp_path / 'base.py'
    base.write_text("custom_imports = dict(imports=['json'], allow_failed_imports=False)\n")
    child = tmp_path / 'child.py'
    line = "custom_imports = dict(imports=[{}'mmseg_rmi'], allow_failed_imports=False)\n"
    for theirs, kept in (('', False), ("'json', ", True)):
        child.write_text("_base_ = 'base.py'\n" + line.format(theirs))
        assert ('json' in Config.fromfile(child).custom_imports.imports) == kept


def test_a_head_that_calls_its_losses_itself_is_named(tmp_path):
    @MODELS.register_module(force=True)
    class HeadWithItsOwnLoss(MODELS.get('FCNHead')):
        def loss_by_feat(self, *args):
            return {}

    mine = user_config(tmp_path, "decode_head=dict(type='HeadWithItsOwnLoss', num_classes=2)")
    _, decisions = swap(mine, tmp_path)
    assert any(what == 'check it' for _, what, _ in decisions)


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        ("type='A'", 'the model A has no decode_head'),
        (f"decode_head=dict({HEAD}, loss_decode=dict(type='RMILoss'))", 'with RMILoss already'),
        ("decode_head=dict(type='ResNet')", 'ResNet is not a BaseDecodeHead'),
        (
            "decode_head=dict(type='FCNHead', loss_decode=dict(type='torch.relu'))",
            'not a class; name',
        ),
        ("decode_head=dict(type='torch.nn.functional.relu')", 'relu is not a class; name one'),
        ("decode_head=dict(type='mmseg.PointHead')", 'form no regions'),
        ('decode_head=None', 'has no decode_head'),
        ('decode_head=dict(num_classes=2)', 'decode_head must be a dict with a type'),
        ('decode_head=[3]', r'decode_head\[0\] must be a dict with a type, got 3'),
        (f'decode_head=dict({HEAD}, loss_decode=[])', 'loss_decode is an empty list'),
        (f"decode_head=dict({HEAD}, loss_decode='ce')", 'must be a dict with a type, got ce'),
        (
            f"decode_head=dict({HEAD}, loss_decode=dict(type='A', loss_weight=float('nan')))",
            'loss_weight of A is nan',
        ),
        (f"type='SegTTAModel', module=dict(decode_head=dict({HEAD}))", 'config of the training'),
    ],
)
def test_configs_that_cannot_be_swapped_are_refused(tmp_path, model, message):
    with pytest.raises(swap_loss.NotApplicable, match=message):
        swap(user_config(tmp_path, model), tmp_path)


def test_the_child_of_a_finished_runs_config_inherits_no_state_of_the_run(tmp_path):
    state = """
work_dir = 'work_dirs/ce'
resume = True
load_from = 'work_dirs/ce/iter_10.pth'
experiment_name = 'ce'
launcher = 'pytorch'
train_cfg = dict(max_iters=10)
"""
    cfg, decisions = swap(user_config(tmp_path, f'decode_head=dict({HEAD})', state), tmp_path)
    own = {name: cfg.get(name) for name in ('work_dir', 'resume', 'load_from', 'experiment_name')}
    assert own == dict(work_dir=None, resume=False, load_from=None, experiment_name=None)
    assert (cfg.launcher, cfg.train_cfg) == ('none', dict(max_iters=10))
    told = {where for where, _, why in decisions if why == 'it belongs to the run of the base'}
    assert told == {'work_dir', 'resume', 'load_from', 'experiment_name', 'launcher'}


def test_the_child_writes_nothing_where_a_run_of_the_base_wrote(tmp_path):
    output = """
visualizer = {
    'type': 'SegLocalVisualizer',
    'save_dir': 'shown',
    'vis_backends': [
        dict(type='LocalVisBackend', save_dir='logs'),
        dict(type='WandbVisBackend', init_kwargs={'id': '3f', 'resume': 'must', 'my-key': (1, 2)}),
    ],
}
test_evaluator = [dict(type='IoUMetric', output_dir='predictions')]
val_evaluator = dict(type='IoUMetric', output_dir=None)
"""
    cfg, decisions = swap(user_config(tmp_path, f'decode_head=dict({HEAD})', output), tmp_path)
    assert cfg.visualizer.vis_backends[1].init_kwargs == {'my-key': (1, 2)}
    assert 'save_dir' not in str(cfg.visualizer)
    assert cfg.test_evaluator == [dict(type='IoUMetric')]
    assert cfg.val_evaluator == dict(type='IoUMetric', output_dir=None)
    told = {where for where, _, why in decisions if why == 'it belongs to the run of the base'}
    assert {'visualizer.save_dir', 'test_evaluator[0].output_dir'} < told


@pytest.mark.parametrize('kind', ['mmseg.RMILoss', 'mmseg_rmi.losses.RMILoss', 'RMILoss'])
def test_a_config_that_trains_rmi_is_left_with_its_settings_however_it_is_named(tmp_path, kind):
    loss = f"loss_decode=dict(type='{kind}', region_size=5)"
    with pytest.raises(swap_loss.NotApplicable, match='is trained with RMILoss already'):
        swap(user_config(tmp_path, f'decode_head=dict({HEAD}, {loss})'), tmp_path)


@pytest.mark.parametrize('kind', ['PSPHead', 'mmseg.PSPHead'])
def test_scopes_of_names_are_resolved(tmp_path, kind):
    model = f"decode_head=dict(type='{kind}', in_channels=3, channels=3, num_classes=2)"
    scope = "default_scope = 'mmdet'\n" if '.' in kind else ''
    tta = "tta_model = dict(type='mmseg.SegTTAModel')"
    cfg, _ = swap(user_config(tmp_path, model, scope + tta), tmp_path)
    prefix = 'mmseg.' if scope else ''
    assert cfg.model.decode_head.type == f'{prefix}RMIPSPHead'
    assert cfg.model.decode_head.loss_decode.type == f'{prefix}RMILoss'
    assert cfg.tta_model.type == f'{prefix}ProbabilityTTAModel'


@pytest.mark.parametrize('beside', [False, True])
@pytest.mark.parametrize('name', ['tta_model', 'custom_imports', 'test_cfg', 'work_dir'])
def test_a_setting_that_is_none_is_no_setting(tmp_path, name, beside):
    head = f'decode_head=dict({HEAD}, sampler=None), auxiliary_head=None'
    cfg, _ = swap(user_config(tmp_path, head, f'{name} = None'), tmp_path, beside=beside)
    assert len(regional_losses(MODELS.build(cfg.model.decode_head))) == 1


def test_a_pure_python_config_is_refused_with_a_mend_that_works(tmp_path):
    mine = tmp_path / 'lazy.py'
    mine.write_text(f"""
from mmseg.models import EncoderDecoder
model = dict(type=EncoderDecoder, decode_head=dict({HEAD}))
""")
    with pytest.raises(swap_loss.NotApplicable, match='pure-Python config') as refusal:
        swap(mine, tmp_path)
    mend = str(refusal.value).partition('reads it: ')[2]
    (tmp_path / 'mended.py').write_text(mine.read_text() + mend.replace('; ', '\n'))
    head = Config.fromfile(tmp_path / 'mended.py').model.decode_head
    assert len(regional_losses(MODELS.build(head))) == 1


@pytest.mark.parametrize('ending', ['json', 'yaml'])
def test_a_config_that_is_no_python_has_a_child_in_python(tmp_path, ending):
    cfg = Config(dict(model=dict(decode_head=dict(type='FCNHead', num_classes=2))))
    cfg.dump(tmp_path / f'mine.{ending}')
    child = swap_loss.name_child(str(tmp_path / f'mine.{ending}'))
    assert child.name == 'mine_rmi.py'
    swap_loss.swap_loss(str(tmp_path / f'mine.{ending}'), child)
    assert Config.fromfile(child).model.decode_head.loss_decode.type == 'RMILoss'


def test_a_child_has_a_work_dir_of_its_own(tmp_path):
    mine = user_config(tmp_path, f'decode_head=dict({HEAD})')
    with pytest.raises(FileExistsError, match=r'same work dir, work_dirs/mine: name it otherwise'):
        swap_loss.swap_loss(str(mine), tmp_path / 'new' / 'mine.py')


@pytest.mark.parametrize('out', ['child.txt', 'child.yaml', 'child'])
def test_the_child_must_be_a_python_file(tmp_path, out):
    with pytest.raises(ValueError, match=f'{out}: the child is written in Python, name it NAME.py'):
        swap_loss.swap_loss(shipped('pspnet'), tmp_path / out)


@pytest.mark.parametrize('nothing', ['.', '', 'mmseg::pspnet/'])
def test_a_config_without_a_name_is_refused(nothing):
    with pytest.raises(ValueError, match=f"'{nothing}' is no config: name its file"):
        swap_loss.name_child(nothing)


def test_an_existing_file_is_left_alone(tmp_path):
    (tmp_path / 'child.py').write_text('precious')
    with pytest.raises(FileExistsError, match=r'child\.py exists: name another file with -o'):
        swap(shipped('pspnet'), tmp_path)
    assert (tmp_path / 'child.py').read_text() == 'precious'


@pytest.mark.parametrize(
    ('base', 'child'),
    [
        ('a/psp_r50_4xb2-40k_x.py', 'a/psp_r50_4xb2-rmi-40k_x.py'),
        ('a/psp_r50_4xb2-ce-40k_x.py', 'a/psp_r50_4xb2-rmi-40k_x.py'),
        ('mmseg::unet/u_4xb4-ce-1.0-dice-3.0-40k_y.py', 'u_4xb4-rmi-40k_y.py'),
        ('mine.py', 'mine_rmi.py'),
    ],
)
def test_the_childs_name_says_its_loss(base, child):
    assert swap_loss.name_child(base) == Path(child)


@pytest.mark.parametrize(
    ('base', 'child'),
    [
        ('a/psp_r50_4xb2-40k_x.py', 'a/psp_r50_4xb2-ce-rmi-40k_x.py'),
        ('a/psp_r50_4xb2-ce-40k_x.py', 'a/psp_r50_4xb2-ce-rmi-40k_x.py'),
        ('mmseg::unet/u_4xb4-ce-1.0-dice-3.0-40k_y.py', 'u_4xb4-ce-1.0-dice-3.0-rmi-40k_y.py'),
        ('mine.py', 'mine_ce-rmi.py'),
    ],
)
def test_the_childs_name_says_what_stays_beside_the_region_term(base, child):
    assert swap_loss.name_child(base, beside=True) == Path(child)


def test_the_command_writes_a_short_child_of_a_shipped_config_and_says_why(tmp_path):
    out = tmp_path / 'new' / 'child.py'
    base = 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
    said = run(sys.executable, TOOLS / 'swap_loss.py', base, '-o', out)
    assert out.read_text().splitlines() == [
        f'_base_ = {base!r}',
        "custom_imports = dict(imports=['mmseg_rmi'], allow_failed_imports=False)",
        "model = dict(decode_head=dict(type='RMIPSPHead', loss_decode=dict(_delete_=True, "
        "type='RMILoss')))",
        "tta_model = dict(type='ProbabilityTTAModel')",
    ]
    assert said.startswith('decode_head: ')
    assert 'auxiliary_head: kept (it only helps the training' in said
    assert f'python -m mmseg_rmi path/to/mmsegmentation/tools/train.py {out}' in said


def test_a_child_finds_its_base_from_another_folder(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'b').mkdir()
    mine = user_config(tmp_path / 'a', f'decode_head=dict({HEAD})')
    swap(mine, tmp_path / 'b')
    assert (tmp_path / 'b' / 'child.py').read_text().startswith("_base_ = '../a/mine.py'\n")


@pytest.mark.parametrize(
    ('name', 'text', 'said'),
    [
        ('cut.py', 'model = dict(', r'cut\.py, or a base of it, cannot be read .*SyntaxError'),
        ('latin.py', '# é', r'latin\.py, or a base of it, cannot be read .*UnicodeDecodeError'),
        ('list.json', '[1, 2]', r'list\.json, or a base of it, cannot be read'),
        ('imports.py', "custom_imports = 'json'", "custom_imports must be dict.*got 'json'"),
    ],
)
def test_a_config_that_cannot_be_read_is_named(tmp_path, name, text, said):
    (tmp_path / name).write_text(text, encoding='latin-1')
    with pytest.raises(ValueError, match=said):
        swap_loss.swap_loss(str(tmp_path / name), tmp_path / 'child.py')
