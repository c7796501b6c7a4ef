"""The losses inside a decode head of MMSegmentation, as a config puts them there."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch.nn import functional as F

from helpers.batches import make_batch
from helpers.implementations import registered
from helpers.tolerances import assert_close


def build_head(loss_decode, num_classes=3, **settings):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='FCNHead',
            in_channels=4,
            channels=4,
            num_convs=1,
            num_classes=num_classes,
            loss_decode=loss_decode,
            norm_cfg=dict(type='BN'),
            **settings,
        )
    )


def batch_for(head, images=2):
    features = torch.randn(images, 4, 8, 10, generator=torch.Generator().manual_seed(0))
    _, labels = make_batch(images=images, height=32, width=40, classes=head.num_classes)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=each[None])) for each in labels]
    return [features], samples, labels


def test_list_of_losses_is_logged_apart_and_trained_together():
    head = build_head([dict(type='CrossEntropyLoss'), dict(type='RMILoss', loss_weight=0.5)])
    features, samples, labels = batch_for(head)
    torch.manual_seed(0)  # dropout
    logits = head(features)
    losses = head.loss_by_feat(logits, samples)
    up_sampled = F.interpolate(logits, size=(32, 40), mode='bilinear', align_corners=False)
    assert set(losses) == {'loss_ce', 'loss_rmi', 'acc_seg'}
    assert_close(losses['loss_rmi'], 0.5 * registered(up_sampled, labels))
    losses['loss_rmi'].backward()
    assert head.conv_seg.weight.grad.abs().sum() > 0


def test_losses_of_equal_name_add_up():
    two = [dict(type='RMILoss', loss_lambda=each, loss_name='loss_seg') for each in (0.0, 1.0)]
    head = build_head(two)
    features, samples, _ = batch_for(head)
    logits = head(features)
    apart = [build_head(each).loss_by_feat(logits, samples)['loss_seg'] for each in two]
    assert_close(head.loss_by_feat(logits, samples)['loss_seg'], sum(apart))


def test_rmi_and_bce_may_be_listed_together():
    head = build_head([dict(type='RMILoss', loss_lambda=0.0), dict(type='SigmoidCrossEntropyLoss')])
    features, samples, _ = batch_for(head)
    losses = head.loss_by_feat(head(features), samples)
    assert losses['loss_rmi'] > 0
    assert losses['loss_bce'] > 0


def test_binary_head_of_one_channel_trains():
    head = build_head(dict(type='RMILoss'), num_classes=2, out_channels=1, threshold=0.3)
    features, samples, _ = batch_for(head)
    loss = head.loss_by_feat(head(features), samples)['loss_rmi']
    loss.backward()
    assert head.conv_seg.weight.grad.isfinite().all()
    assert head.conv_seg.weight.grad.abs().sum() > 0


def test_ignore_index_of_the_head_is_honoured():
    head = build_head(dict(type='RMILoss'), ignore_index=2)
    features, samples, labels = batch_for(head)
    for sample in samples:
        sample.gt_sem_seg.data[sample.gt_sem_seg.data == 255] = 2
    logits = F.interpolate(head(features), size=(32, 40), mode='bilinear', align_corners=False)
    losses = head.loss_by_feat(logits, samples)
    labels[labels == 255] = 2
    assert_close(losses['loss_rmi'], registered(logits, labels, ignore_index=2))


def test_ohem_by_loss_is_refused_with_the_mend():
    head = build_head(dict(type='RMILoss'), sampler=dict(type='OHEMPixelSampler', min_kept=100))
    features, samples, _ = batch_for(head)
    with pytest.raises(ValueError, match='set sampler=None in the decode head'):
        head.loss_by_feat(head(features), samples)


def test_ohem_by_confidence_weights_the_pixel_term():
    sampler = dict(type='OHEMPixelSampler', thresh=0.5, min_kept=2)
    head = build_head(dict(type='RMILoss'), sampler=sampler)
    features, samples, labels = batch_for(head)
    logits = F.interpolate(head(features), size=(32, 40), mode='bilinear', align_corners=False)
    truth = labels.where(labels != 255, 0)[:, None]
    hard = logits.softmax(dim=1).gather(1, truth)[:, 0] < 0.5
    assert 0 < hard.sum() < hard.numel()
    expected = registered(logits, labels, weight=hard.float())
    assert_close(head.loss_by_feat(logits, samples)['loss_rmi'], expected)
