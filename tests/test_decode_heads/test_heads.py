"""What the two heads compute, how they start and what they drop."""

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn
from torch.nn import functional as F

from mmseg_rmi.decode_heads import DeepLabV3Head, DeepLabV3PlusHead

BATCH_NORM = dict(type='BN', momentum=0.05)


def v3(in_channels: int = 12, channels: int = 8, **settings) -> DeepLabV3Head:
    head = DeepLabV3Head(in_channels, channels, num_classes=3, **settings)
    head.init_weights()
    return head


def v3_plus(in_channels: int = 12, channels: int = 8, **settings) -> DeepLabV3PlusHead:
    head = DeepLabV3PlusHead(
        in_channels=in_channels,
        channels=channels,
        c1_in_channels=5,
        c1_channels=4,
        num_classes=3,
        **settings,
    )
    head.init_weights()
    return head


def features() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, channels, height, width, generator=generator)
        for channels, height, width in [(5, 17, 21), (7, 9, 11), (12, 5, 6)]
    ]


def conv(module: nn.Module, inputs: torch.Tensor, rate: int = 1) -> torch.Tensor:
    """Return convolution, bias and ReLU, padded so that the size stays."""
    weight = module.conv.weight
    padding = rate * (weight.shape[-1] // 2)
    return F.conv2d(inputs, weight, module.conv.bias, padding=padding, dilation=rate).relu()


def aspp_by_hand(head: DeepLabV3Head, inputs: torch.Tensor, rates: tuple[int, ...]) -> torch.Tensor:
    parts = [conv(head.aspp.branches[i], inputs, rate) for i, rate in enumerate(rates)]
    image_mean = inputs.mean(dim=(2, 3), keepdim=True)
    image_level = conv(head.aspp.image_pooling[1], image_mean)
    parts.append(image_level * torch.ones_like(parts[0]))
    return conv(head.aspp.projection, torch.cat(parts, dim=1))


def test_deeplabv3_is_aspp_then_a_classifier():
    head = v3(dilations=(1, 2, 3)).eval()
    coarse = aspp_by_hand(head, features()[-1], (1, 2, 3))
    expected = F.conv2d(coarse, head.conv_seg.weight, head.conv_seg.bias)
    torch.testing.assert_close(head(features()), expected)


@pytest.mark.parametrize('align_corners', [True, False])
def test_deeplabv3plus_refines_aspp_with_the_first_features(align_corners):
    head = v3_plus(dilations=(1, 2, 3), align_corners=align_corners).eval()
    coarse = aspp_by_hand(head, features()[-1], (1, 2, 3))
    coarse = F.interpolate(coarse, (17, 21), mode='bilinear', align_corners=align_corners)
    fine = torch.cat([coarse, conv(head.decoder.reduction, features()[0])], dim=1)
    for layer in head.decoder.fusion:
        fine = conv(layer, fine)
    expected = F.conv2d(fine, head.conv_seg.weight, head.conv_seg.bias)
    torch.testing.assert_close(head(features()), expected)


def test_the_papers_heads_have_the_parameters_of_its_layers():
    """1x1, three 3x3, image pooling, projection; then reduction and two 3x3; norms; classifier."""
    shared = dict(in_channels=2048, channels=256, num_classes=21, norm_cfg=BATCH_NORM)
    aspp = 2048 * 256 * (1 + 3 * 9 + 1) + 5 * 256 * 256 + 2 * 256 * 6
    decoder = 256 * 48 + 2 * 48 + (256 + 48) * 256 * 9 + 256 * 256 * 9 + 2 * 2 * 256
    classifier = 256 * 21 + 21
    with torch.device('meta'):
        heads = [
            DeepLabV3Head(**shared),
            DeepLabV3PlusHead(c1_in_channels=256, c1_channels=48, **shared),
        ]
    counts = [sum(parameter.numel() for parameter in head.parameters()) for head in heads]
    assert counts == [aspp + classifier, aspp + decoder + classifier]


@pytest.mark.parametrize('make', [v3, v3_plus])
def test_every_convolution_starts_kaiming_normal_by_fan_in(make):
    torch.manual_seed(0)
    head = make(in_channels=96, channels=64, norm_cfg=BATCH_NORM)
    for name, layer in head.named_modules():
        if isinstance(layer, nn.Conv2d):
            count, fan_in = layer.weight.numel(), layer.weight[0].numel()
            std = math.sqrt(2 / fan_in)
            # Five standard errors of a normal sample's standard deviation.
            assert layer.weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * count)), (
                name
            )
            assert layer.bias is None or not layer.bias.any(), name
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all(), name
            assert not layer.bias.any(), name


@pytest.mark.parametrize(('make', 'places'), [(v3, 1), (v3_plus, 2)])
def test_dropout_follows_the_projection_and_precedes_the_classifier(make, places):
    head = make(dropout_ratio=0.1)
    seen = []
    head.dropout.register_forward_hook(lambda *call: seen.append(call[2]))
    consumers = []
    for consumer in (head.conv_seg, getattr(head, 'decoder', head.conv_seg)):
        consumer.register_forward_pre_hook(lambda _, inputs: consumers.append(inputs[-1]))
    head(features())
    assert len(seen) == places
    assert all(any(output is inputs for inputs in consumers) for output in seen)


@pytest.mark.parametrize('make', [v3, v3_plus])
def test_dropout_drops_elements_not_channels(make):
    torch.manual_seed(0)
    dropped = make(dropout_ratio=0.1).dropout(torch.ones(4, 50, 20, 20)) == 0
    shares = dropped.float().mean(dim=(2, 3))
    assert shares.min() > 0  # a channel is never kept whole
    assert shares.max() < 0.5  # nor dropped whole
    assert shares.mean().item() == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize('make', [v3, v3_plus])
def test_without_dropout_training_is_deterministic(make):
    head = make(dropout_ratio=0)
    assert torch.equal(head(features()), head(features()))


@pytest.mark.parametrize('name', ['DeepLabV3Head', 'DeepLabV3PlusHead'])
def test_heads_are_registered_with_mmseg(name):
    assert MODELS.get(name).__name__ == name


def test_norm_settings_reach_every_norm_layer():
    for head in (v3(norm_cfg=BATCH_NORM), v3_plus(norm_cfg=BATCH_NORM)):
        norms = [layer for layer in head.modules() if isinstance(layer, nn.BatchNorm2d)]
        convolutions = [layer for layer in head.modules() if isinstance(layer, nn.Conv2d)]
        assert len(norms) == len(convolutions) - 1  # all but the classifier
        assert {layer.momentum for layer in norms} == {0.05}


def test_v3_takes_features_of_several_stages():
    head = DeepLabV3Head(
        [4, 8], 6, in_index=[0, 1], input_transform='resize_concat', num_classes=3
    ).eval()
    features = [torch.rand(2, 4, 10, 12), torch.rand(2, 8, 5, 6)]
    assert head(features).shape == (2, 3, 10, 12)


@pytest.mark.parametrize(
    ('settings', 'error', 'message'),
    [
        (dict(dilations=1), TypeError, r'dilations must be a list of rates .* got 1'),
        (dict(dilations=()), TypeError, r'dilations must be a list of rates .* got \(\)'),
        (dict(dilations=(1, 0)), ValueError, 'dilations must be from 1 to 65536, got 0'),
        (dict(channels=0), ValueError, 'channels must be from 1 to 65536, got 0'),
        (dict(in_channels='3'), TypeError, "in_channels must be an integer, got '3'"),
        (dict(num_classes=None), TypeError, 'num_classes must be an integer, got None'),
        (dict(num_classes=0), ValueError, 'num_classes must be from 1 to 65536, got 0'),
        (dict(c1_in_channels=0), ValueError, 'c1_in_channels must be from 1 to 65536, got 0'),
        (dict(c1_channels=4.0), TypeError, r'c1_channels must be an integer, got 4\.0'),
    ],
)
def test_wrong_setting_of_a_head_is_named(settings, error, message):
    right = dict(in_channels=12, channels=8, c1_in_channels=5, c1_channels=4, num_classes=3)
    with pytest.raises(error, match=message):
        DeepLabV3PlusHead(**{**right, **settings})


@pytest.mark.parametrize('kind', ['DeepLabV3Head', 'RMIASPPHead', 'RMIUPerHead'])
def test_arguments_of_the_head_that_a_config_replaces_are_told_with_the_mend(kind):
    head = dict(type=kind, in_channels=3, channels=2, num_classes=2, num_convs=1, dilations=(1,))
    mend = rf"{kind} has no argument 'num_convs'.*dict\(_delete_=True, type='{kind}', ...\)"
    if kind == 'RMIUPerHead':
        mend = mend.replace("'num_convs'", "'num_convs', 'dilations'")
    with pytest.raises(TypeError, match=mend):
        MODELS.build(head)


@pytest.mark.parametrize('kind', ['DeepLabV3PlusHead', 'RMIDeepLabV3PlusHead', 'RMIASPPHead'])
def test_the_line_that_deletes_inherited_arguments_also_fits_a_config_without_a_base(kind):
    settings = dict(_delete_=True, type=kind, in_channels=3, channels=2, num_classes=2)
    if 'Plus' in kind:
        settings |= dict(c1_in_channels=3, c1_channels=2)
    settings = Config(dict(decode_head=settings)).decode_head
    assert '_delete_' in settings
    assert MODELS.build(settings).num_classes == 2
    with pytest.raises(TypeError, match=rf"{kind} has no argument 'num_convs'\."):
        MODELS.build(dict(settings, num_convs=1))


@pytest.mark.parametrize('kind', ['DeepLabV3Head', 'RMIDeepLabV3Head', 'RMIASPPHead', 'RMIPSPHead'])
def test_a_last_batch_of_one_image_is_told_with_the_mend(kind):
    head = MODELS.build(
        dict(type=kind, in_channels=3, channels=2, num_classes=2, norm_cfg=dict(type='BN'))
    )
    samples = [SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 32, 32, dtype=torch.long)))]
    features = torch.rand(2, 3, 16, 16)
    assert head.loss([features], 2 * samples, None)
    with pytest.raises(ValueError, match=r'a batch of one image .*drop_last=True'):
        head.loss([features[:1]], samples, None)
