"""A streamed head trains as the plain head with RMILoss does, within the memory of one image."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.models.decode_heads import ASPPHead
from mmseg.models.losses import accuracy
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn
from torch.nn import functional as F

from helpers.allocations import Allocations, limit_blocks
from helpers.batches import make_batch
from helpers.scores import region_scores
from mmseg_rmi.decode_heads import RegionLossMixin
from mmseg_rmi.losses import RMILoss

pytestmark = pytest.mark.usefixtures('mmseg_scope')

NORM = dict(type='BN')
PLAIN_HEADS = {
    'ASPPHead': dict(in_channels=16, dilations=(1, 2)),
    'DepthwiseSeparableASPPHead': dict(
        in_channels=16, dilations=(1, 2), c1_in_channels=8, c1_channels=4
    ),
    'DeepLabV3Head': dict(in_channels=16, dilations=(1, 2)),
    'DeepLabV3PlusHead': dict(in_channels=16, dilations=(1, 2), c1_in_channels=8, c1_channels=4),
    'PSPHead': dict(in_channels=16, pool_scales=(1, 2)),
    'UPerHead': dict(in_channels=[8, 8, 16, 16], in_index=[0, 1, 2, 3], pool_scales=(1, 2)),
    'SegformerHead': dict(in_channels=[8, 8, 16, 16], in_index=[0, 1, 2, 3]),
}
every_head = pytest.mark.parametrize('name', PLAIN_HEADS)


def build(name, **settings):
    """A small head of 5 classes."""
    name_of_plain = name.removeprefix('RMI')
    config = dict(channels=8, num_classes=5, dropout_ratio=0.0, norm_cfg=NORM)
    return MODELS.build(dict(type=name, **{**config, **PLAIN_HEADS[name_of_plain], **settings}))


def build_pair(name, loss=None, **settings):
    """The plain head with RMILoss and the streamed one, of equal parameters."""
    loss = loss or dict(type='RMILoss')
    plain = build(name, loss_decode=loss, **settings)
    streamed = build(f'RMI{name}', loss_decode=loss, **settings)
    streamed.load_state_dict(plain.state_dict(), strict=True)
    return plain, streamed


def samples_of(labels):
    return [SegDataSample(gt_sem_seg=PixelData(data=each[None])) for each in labels]


def features(images=2):
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 17, 19), (8, 9, 10), (16, 5, 5), (16, 5, 5)]
    return [torch.randn(images, *shape, generator=generator) for shape in shapes]


def total(losses):
    """What MMEngine minimises."""
    return sum(value for name, value in losses.items() if 'loss' in name)


@every_head
def test_checkpoints_of_the_plain_head_load(name):
    plain, streamed = build_pair(name)
    shapes = [
        {key: value.shape for key, value in head.state_dict().items()} for head in (plain, streamed)
    ]
    assert shapes[0] == shapes[1]


@every_head
def test_losses_and_gradients_of_all_parameters_are_those_of_the_plain_head(name):
    plain, streamed = build_pair(name)
    _, labels = make_batch(classes=5, height=67, width=75)
    expected = plain.loss(features(), samples_of(labels), {})
    losses = streamed.loss(features(), samples_of(labels), {})
    assert set(losses) == {'loss_bce', 'loss_region', 'rmi_score', 'acc_seg'}
    torch.testing.assert_close(total(losses), expected['loss_rmi'], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(losses['acc_seg'], expected['acc_seg'][0])
    assert 0 <= losses['rmi_score'] <= 1

    expected['loss_rmi'].backward()
    total(losses).backward()
    for (key, parameter), other in zip(
        plain.named_parameters(), streamed.parameters(), strict=True
    ):
        largest = parameter.grad.abs().max()
        assert (other.grad - parameter.grad).abs().max() <= 1e-4 * largest + 1e-7, key


@every_head
def test_predictions_are_those_of_the_plain_head(name):
    plain, streamed = (head.eval() for head in build_pair(name))
    assert torch.equal(streamed(features()), plain(features()))


def losses_and_gradient(head, logits, samples):
    logits = logits.detach().clone().requires_grad_()
    losses = head.loss_by_feat(logits, samples)
    total(losses).backward()
    return losses, logits.grad


@pytest.mark.parametrize('align_corners', [True, False])
@pytest.mark.parametrize('classes', [1, 2, 21, 150])
@pytest.mark.parametrize(
    ('low', 'size'), [((9, 11), (33, 41)), ((7, 8), (50, 29)), ((10, 10), (64, 64))]
)
def test_logits_of_any_size_give_the_terms_of_the_plain_head(low, size, classes, align_corners):
    channels = dict(num_classes=max(classes, 2), out_channels=classes, threshold=0.3)
    plain, streamed = build_pair('ASPPHead', align_corners=align_corners, **channels)
    logits, labels = make_batch(classes=classes, height=size[0], width=size[1])
    logits = F.adaptive_avg_pool2d(logits, low).float()
    expected, expected_gradient = losses_and_gradient(plain, logits, samples_of(labels))
    losses, gradient = losses_and_gradient(streamed, logits, samples_of(labels))
    torch.testing.assert_close(total(losses), expected['loss_rmi'], rtol=1e-5, atol=1e-6)
    error = (gradient - expected_gradient).abs().max()
    assert error <= 1e-4 * expected_gradient.abs().max()

    full = F.interpolate(logits, size, mode='bilinear', align_corners=align_corners)
    pixels_alone = 0.5 * RMILoss(loss_lambda=1)(full, labels)
    torch.testing.assert_close(losses['loss_bce'], pixels_alone, rtol=1e-4, atol=1e-4)
    score = region_scores(full.double(), labels, RMILoss().settings).nanmean()
    torch.testing.assert_close(losses['rmi_score'].double(), score, rtol=1e-4, atol=1e-4)
    valid = labels != 255
    if classes == 1:  # mmseg takes the greatest of the one channel, which is always 0
        correct = (full[:, 0].sigmoid() > 0.3) == (labels == 1)
        expected_accuracy = 100 * correct[valid].float().mean()
    else:
        expected_accuracy = accuracy(full, labels, ignore_index=255)[0]
    torch.testing.assert_close(losses['acc_seg'], expected_accuracy)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize('classes', [1, 2, 21, 150])
def test_mixed_precision_gives_the_terms_of_the_plain_head(classes, dtype):
    channels = dict(num_classes=max(classes, 2), out_channels=classes, threshold=0.3)
    plain, streamed = build_pair('ASPPHead', **channels)
    logits, labels = make_batch(classes=classes, height=33, width=41)
    logits = F.adaptive_avg_pool2d(logits, (9, 11)).to(dtype)
    expected, expected_gradient = losses_and_gradient(plain, logits.float(), samples_of(labels))
    with torch.autocast('cpu', dtype=dtype):
        losses, gradient = losses_and_gradient(streamed, logits, samples_of(labels))
    assert total(losses).dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(total(losses), expected['loss_rmi'], rtol=1e-5, atol=1e-6)
    error = (gradient.double() - expected_gradient.double()).abs().max()
    rounding = {torch.bfloat16: 2**-8, torch.float16: 2**-10}[dtype]
    assert error <= rounding * expected_gradient.abs().max()
    if classes > 1:
        full = F.interpolate(logits.float(), (33, 41), mode='bilinear')
        correct = full.argmax(dim=1) == labels
        torch.testing.assert_close(losses['acc_seg'], 100 * correct[labels != 255].float().mean())


@pytest.mark.parametrize(
    'settings',
    [
        dict(loss_weight=0.4, loss_lambda=0.3),
        dict(ignored='exclude', downsample_factor=2),
        dict(nonnegative=False, downsample='max'),
        dict(loss_lambda=0.0),
        dict(loss_lambda=1.0),
    ],
    ids=str,
)
def test_settings_of_the_loss_are_kept(settings):
    plain, streamed = build_pair('ASPPHead', loss=dict(type='RMILoss', **settings))
    logits, labels = make_batch(classes=5, height=33, width=41)
    logits = F.adaptive_avg_pool2d(logits, (9, 11))
    expected, expected_gradient = losses_and_gradient(plain, logits, samples_of(labels))
    losses, gradient = losses_and_gradient(streamed, logits, samples_of(labels))
    torch.testing.assert_close(total(losses), expected['loss_rmi'])
    torch.testing.assert_close(gradient, expected_gradient)
    full = F.interpolate(logits, (33, 41), mode='bilinear')
    apart = {**settings, 'loss_lambda': 1}
    pixel_term = streamed.loss_decode.settings.loss_lambda * RMILoss(**apart)(full, labels)
    torch.testing.assert_close(losses['loss_bce'], pixel_term, rtol=1e-6, atol=1e-6)


def test_batch_without_a_valid_pixel_trains_nothing():
    _, streamed = build_pair('ASPPHead')
    logits, labels = make_batch(classes=5, height=32, width=32)
    logits = F.avg_pool2d(logits, 4)
    losses, gradient = losses_and_gradient(
        streamed, logits, samples_of(torch.full_like(labels, 255))
    )
    assert {name: value.item() for name, value in losses.items()} == dict(
        loss_bce=0, loss_region=0, rmi_score=0, acc_seg=0
    )
    assert (gradient == 0).all()


def test_pixel_wise_term_alone_logs_no_score():
    _, streamed = build_pair('ASPPHead', loss=dict(type='RMILoss', loss_lambda=1.0))
    logits, labels = make_batch(classes=5, height=32, width=32)
    losses, _ = losses_and_gradient(streamed, F.avg_pool2d(logits, 4), samples_of(labels))
    assert set(losses) == {'loss_bce', 'loss_region', 'acc_seg'}
    assert losses['loss_bce'] > losses['loss_region'] == 0


def test_ignore_index_of_the_head_is_honoured():
    plain, streamed = build_pair('ASPPHead', ignore_index=1)
    logits, labels = make_batch(classes=5, height=32, width=32, void=False)
    logits = F.avg_pool2d(logits, 4)
    expected, _ = losses_and_gradient(plain, logits, samples_of(labels))
    losses, _ = losses_and_gradient(streamed, logits, samples_of(labels))
    torch.testing.assert_close(total(losses), expected['loss_rmi'])
    torch.testing.assert_close(losses['acc_seg'].double(), expected['acc_seg'][0].double())


@pytest.mark.parametrize('ignore_index', [0, 1])
def test_ignored_pixels_of_a_binary_map_are_not_correct(ignore_index):
    settings = dict(num_classes=2, out_channels=1, threshold=0.3, ignore_index=ignore_index)
    _, streamed = build_pair('ASPPHead', **settings)
    logits, labels = make_batch(classes=1, height=32, width=32, void=False)
    logits = F.avg_pool2d(logits, 4)
    losses, _ = losses_and_gradient(streamed, logits, samples_of(labels))
    full = F.interpolate(logits, labels.shape[1:], mode='bilinear')[:, 0]
    correct = ((full.sigmoid() > 0.3) == labels)[labels != ignore_index]
    torch.testing.assert_close(losses['acc_seg'], 100 * correct.float().mean())


def test_infinite_logit_spoils_loss_and_gradient():
    _, streamed = build_pair('ASPPHead')
    logits, labels = make_batch(classes=5, height=32, width=32)
    logits = F.avg_pool2d(logits, 4)
    logits[1, 2, 3, 3] = torch.inf
    losses, gradient = losses_and_gradient(streamed, logits, samples_of(labels))
    assert not total(losses).isfinite()
    assert not gradient.isfinite().any()


@every_head
def test_the_loss_may_be_left_out_of_the_config(name):
    assert isinstance(build(f'RMI{name}').loss_decode, RMILoss)


@pytest.mark.parametrize(
    'loss',
    [
        dict(type='CrossEntropyLoss', avg_non_ignore=True),
        dict(type='SigmoidCrossEntropyLoss'),
        [dict(type='RMILoss'), dict(type='DiceLoss')],
        [dict(type='RMILoss')],
    ],
    ids=['ce', 'bce', 'two', 'list-of-one'],
)
@every_head
def test_loss_that_cannot_be_streamed_is_refused(name, loss):
    with pytest.raises(TypeError, match=f'RMI{name} streams one RMILoss, got loss_decode='):
        build(f'RMI{name}', loss_decode=loss)


def test_sampler_is_refused():
    with pytest.raises(ValueError, match='sampler=OHEMPixelSampler: set sampler=None'):
        build('RMIASPPHead', sampler=dict(type='OHEMPixelSampler'))


def test_a_threshold_must_be_a_number():
    with pytest.raises(TypeError, match=r"threshold must be a number, got '0\.3'"):
        build('RMIASPPHead', num_classes=2, out_channels=1, threshold='0.3')


def smooth_head():
    """A head as users write them: a loss of its own beside those of its base."""

    class SmoothHead(ASPPHead):
        def loss_by_feat(self, seg_logits, batch_data_samples):
            losses = super().loss_by_feat(seg_logits, batch_data_samples)
            return {**losses, 'loss_smooth': seg_logits.diff(dim=-1).square().mean()}

    return SmoothHead


def test_a_class_that_would_leave_out_losses_is_refused():
    with pytest.raises(TypeError, match=r'Streamed would leave out .* SmoothHead\.loss_by_feat'):
        type('Streamed', (RegionLossMixin, smooth_head()), {})


def test_losses_of_a_mixin_are_kept_in_the_order_that_the_error_names():
    class Smoothness:
        def loss_by_feat(self, seg_logits, batch_data_samples):
            losses = super().loss_by_feat(seg_logits, batch_data_samples)
            return {**losses, 'loss_smooth': seg_logits.diff(dim=-1).square().mean()}

    with pytest.raises(TypeError, match='put Smoothness before RegionLossMixin'):
        type('Streamed', (RegionLossMixin, Smoothness, ASPPHead), {})
    losses = losses_of(type('Streamed', (Smoothness, RegionLossMixin, ASPPHead), {}))
    assert {'loss_bce', 'loss_region', 'loss_smooth'} <= set(losses)


@pytest.mark.parametrize('head', [ASPPHead, smooth_head()])
def test_a_class_that_would_not_stream_is_refused(head):
    with pytest.raises(TypeError, match=r'put RegionLossMixin first, class Late\(RegionLossMixin,'):
        type('Late', (head, RegionLossMixin), {})


def test_losses_that_a_streamed_head_adds_are_kept():
    class Streamed(RegionLossMixin, ASPPHead):
        def loss_by_feat(self, seg_logits, batch_data_samples):
            losses = super().loss_by_feat(seg_logits, batch_data_samples)
            return {**losses, 'loss_smooth': seg_logits.diff(dim=-1).square().mean()}

    class Again(Streamed):
        pass

    head = Again(channels=8, num_classes=5, norm_cfg=NORM, **PLAIN_HEADS['ASPPHead'])
    losses = head.loss(features(), samples_of(make_batch(classes=5)[1]), {})
    assert {'loss_bce', 'loss_region', 'loss_smooth'} <= set(losses)


class LossOfItsOwn(ASPPHead):
    def loss(self, inputs, batch_data_samples, train_cfg):
        return {'loss_regional': self(inputs).square().mean()}


class LossBeside(ASPPHead):
    def loss(self, inputs, batch_data_samples, train_cfg):
        losses = super().loss(inputs, batch_data_samples, train_cfg)
        return {**losses, 'loss_own': self(inputs).square().mean()}


def losses_of(kind):
    head = kind(channels=8, num_classes=5, norm_cfg=NORM, **PLAIN_HEADS['ASPPHead'])
    return head.loss(features(), samples_of(make_batch(classes=5)[1]), {})


def test_losses_that_a_head_adds_to_those_of_a_batch_are_kept():
    losses = losses_of(type('Streamed', (RegionLossMixin, LossBeside), {}))
    assert {'loss_bce', 'loss_region', 'loss_own'} <= set(losses)


def test_a_head_that_would_leave_out_rmi_is_refused():
    with pytest.raises(TypeError, match=r'Streamed\.loss returns loss_regional and no loss_region'):
        losses_of(type('Streamed', (RegionLossMixin, LossOfItsOwn), {}))


def test_a_head_of_another_kind_is_refused():
    with pytest.raises(TypeError, match='Streamed is not a BaseDecodeHead'):
        type('Streamed', (RegionLossMixin, nn.Module), {})()


class OwnStream(RMILoss):
    def stream(self, *args, **kwargs):
        return super().stream(*args, **kwargs)


@pytest.mark.parametrize('base', [RMILoss, OwnStream])
@pytest.mark.parametrize('method', ['forward', '__call__'])
def test_a_loss_whose_terms_would_be_left_out_is_refused(base, method):
    def penalised(self, logits, labels, **kwargs):
        return getattr(base, method)(self, logits, labels, **kwargs) + logits.square().mean()

    loss = type('Penalised', (base,), {method: penalised})
    with pytest.raises(TypeError, match=rf'would leave out what Penalised\.{method} adds'):
        build('RMIASPPHead', loss_decode=dict(type=loss))


def test_without_an_ignore_index_the_streamed_head_trains_as_the_plain_one():
    plain, streamed = build_pair('ASPPHead', ignore_index=None)
    _, labels = make_batch(classes=5, void=False)
    expected = plain.loss(features(), samples_of(labels), {})
    losses = streamed.loss(features(), samples_of(labels), {})
    torch.testing.assert_close(total(losses), expected['loss_rmi'], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(losses['acc_seg'], expected['acc_seg'][0])


@pytest.mark.parametrize('threshold', [0.1, 0.3, 0.7])
def test_binary_accuracy_is_that_of_the_prediction(threshold):
    _, head = build_pair('ASPPHead', num_classes=2, out_channels=1, threshold=threshold)
    _, labels = make_batch(classes=1, height=32, width=32)
    losses = head.eval().loss(features(), samples_of(labels), {})
    logits = F.interpolate(head(features()), (32, 32), mode='bilinear')
    samples = BaseSegmentor.postprocess_result(SimpleNamespace(decode_head=head), logits)
    predicted = torch.stack([sample.pred_sem_seg.data for sample in samples])
    valid = labels != 255
    expected = 100 * (predicted[:, 0] == labels)[valid].float().mean()
    torch.testing.assert_close(losses['acc_seg'], expected)


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda logits, labels: labels[0, 0].fill_(77), 'labels hold 77 in image 0'),
        (lambda logits, labels: labels.resize_(2, 4, 4), 'region_size=3 is larger than'),
    ],
)
def test_bad_input_is_refused_as_by_the_plain_head(spoil, message):
    logits, labels = make_batch(classes=5, height=32, width=32)
    spoil(logits, labels)
    for head in build_pair('ASPPHead'):
        with pytest.raises(ValueError, match=message):
            head.loss_by_feat(logits[..., ::4, ::4], samples_of(labels))


@pytest.mark.parametrize('classes', [21, 150])
def test_full_resolution_of_a_batch_is_never_held(monkeypatch, classes):
    limit_blocks(monkeypatch, 1 << 18)
    images, side = 4, 65
    _, labels = make_batch(images, classes, side, side)
    batch = 4 * images * classes * side**2
    sizes = []
    for head in build_pair('ASPPHead', num_classes=classes):
        with Allocations() as allocations:
            total(head.loss(features(images), samples_of(labels), {})).backward()
        sizes.append(allocations.sizes[0])
    of_plain, of_streamed = sizes
    assert of_plain >= batch
    assert of_streamed <= batch / images


def segmentor(head):
    model = MODELS.build(
        ConfigDict(
            type='EncoderDecoder',
            data_preprocessor=dict(type='SegDataPreProcessor', size=(65, 65)),
            backbone=dict(
                type='ResNetV1c', depth=18, stem_channels=8, base_channels=4, norm_cfg=NORM
            ),
            decode_head=dict(
                type=head,
                in_channels=32,
                channels=8,
                num_classes=3,
                dropout_ratio=0.0,
                norm_cfg=NORM,
                dilations=(1, 2),
                loss_decode=dict(type='RMILoss'),
            ),
        )
    )
    model.init_weights()
    return model


def test_training_step_of_a_segmentor_sums_the_two_terms_alone():
    _, labels = make_batch(height=65, width=65)
    images = 60 * labels.where(labels != 255, 0)[:, None].float().expand(-1, 3, -1, -1)
    data = dict(inputs=list(images), data_samples=samples_of(labels))
    plain, streamed = segmentor('ASPPHead'), segmentor('RMIASPPHead')
    streamed.load_state_dict(plain.state_dict())
    logs = []
    for model in (plain, streamed):
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
        logs.append(model.train_step(copy.deepcopy(data), wrapper))
    expected, log = logs
    names = ('loss_bce', 'loss_region', 'rmi_score', 'acc_seg')
    assert set(log) == {'loss', *(f'decode.{name}' for name in names)}
    torch.testing.assert_close(log['loss'], log['decode.loss_bce'] + log['decode.loss_region'])
    torch.testing.assert_close(log['loss'], expected['loss'], rtol=1e-5, atol=1e-6)
    for trained, other in zip(plain.parameters(), streamed.parameters(), strict=True):
        torch.testing.assert_close(other, trained, rtol=1e-4, atol=1e-6)
