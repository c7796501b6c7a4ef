"""Fusion of scales, flips and windows against averages made by hand."""

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from helpers.crf_oracle import sigmoid, softmax
from helpers.tiny_segmentor import build_runner, segmentor, write_images, written
from mmseg_rmi.test_time import ProbabilityTTAModel

pytestmark = pytest.mark.usefixtures('mmseg_scope')

CE, RMI = dict(type='CrossEntropyLoss'), dict(type='RMILoss')
SCALES_AND_FLIPS = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in (1.0, 1.5)],
            [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]


def views_of(logits: list[list[float]]) -> list[list[SegDataSample]]:
    """Predictions for one pixel of one image, as the fusion gets them."""
    samples = [
        SegDataSample(
            seg_logits=PixelData(data=torch.tensor(each)[:, None, None]),
            pred_sem_seg=PixelData(data=torch.zeros(1, 1, 1)),
            metainfo=dict(img_path='image.png'),
        )
        for each in logits
    ]
    return [samples]


def fusion(loss: dict, num_classes: int, **settings) -> ProbabilityTTAModel:
    network = ConfigDict(segmentor(loss, num_classes))
    return MODELS.build(dict(type='ProbabilityTTAModel', module=network, **settings))


def test_a_view_that_rejects_every_class_has_little_say():
    """Sigmoids (.0025, .0003) and (.731, .881); softmax (.881, .119) and (.269, .731)."""
    logits = [[-6.0, -8.0], [1.0, 2.0]]
    (by_sigmoid,) = fusion(RMI, 2).merge_preds(views_of(logits))
    (by_softmax,) = fusion(CE, 2).merge_preds(views_of(logits))
    assert by_sigmoid.pred_sem_seg.data.flatten().tolist() == [1]
    assert by_softmax.pred_sem_seg.data.flatten().tolist() == [0]


def test_the_mean_is_handed_on_as_logits():
    logits = [[-6.0, -8.0], [1.0, 2.0]]
    (by_sigmoid,) = fusion(RMI, 2).merge_preds(views_of(logits))
    (by_softmax,) = fusion(CE, 2).merge_preds(views_of(logits))
    by_sigmoid, by_softmax = (each.seg_logits.data.flatten() for each in (by_sigmoid, by_softmax))
    np.testing.assert_allclose(by_sigmoid.sigmoid(), [0.366766, 0.440566], rtol=1e-5)
    np.testing.assert_allclose(by_softmax.softmax(0), [0.574869, 0.425131], rtol=1e-5)


@pytest.mark.parametrize(('foreground', 'label'), [((0.2, 0.5), 0), ((0.4, 0.5), 1)])
def test_the_mean_of_a_binary_map_meets_the_threshold_of_the_head(foreground, label):
    """Of MMSegmentation's predictions of one channel, the scores are probabilities already."""
    (merged,) = fusion(RMI, 1).merge_preds(views_of([[each] for each in foreground]))
    assert merged.pred_sem_seg.data.flatten().tolist() == [label]  # the threshold is 0.4
    assert merged.seg_logits.data.item() == pytest.approx(sum(foreground) / 2)


def test_the_activation_may_be_set():
    (merged,) = fusion(RMI, 2, activation='softmax').merge_preds(
        views_of([[-6.0, -8.0], [1.0, 2.0]])
    )
    assert merged.pred_sem_seg.data.flatten().tolist() == [0]


@pytest.mark.parametrize('mode', ['whole', 'slide'])
@pytest.mark.parametrize(('loss', 'activation'), [(CE, softmax), (RMI, sigmoid)])
def test_labels_come_from_the_mean_over_scales_and_flips(tmp_path, loss, activation, mode):
    paths = write_images(tmp_path)
    network = segmentor(loss, 4)
    network['test_cfg'] = dict(mode=mode, crop_size=(16, 16), stride=(10, 10))
    model = dict(type='ProbabilityTTAModel', module=network)
    runner = build_runner(tmp_path, model, dict(type='TestLoop'), SCALES_AND_FLIPS)
    runner.test()
    for batch, labels in zip(runner.test_dataloader, written(tmp_path, paths), strict=True):
        views = [
            runner.model.module.test_step({key: value[k] for key, value in batch.items()})[0]
            for k in range(4)
        ]
        scores = [activation(view.seg_logits.data.detach().numpy()) for view in views]
        np.testing.assert_array_equal(labels, (sum(scores) / 4).argmax(0))


def test_fusion_of_softmax_is_that_of_mmsegmentation(tmp_path):
    found = {}
    for name in ('SegTTAModel', 'ProbabilityTTAModel'):
        folder = tmp_path / name
        folder.mkdir()
        paths = write_images(folder)
        model = dict(type=name, module=segmentor(CE, 4))
        build_runner(folder, model, dict(type='TestLoop'), SCALES_AND_FLIPS).test()
        found[name] = written(folder, paths)
    for ours, theirs in zip(found['ProbabilityTTAModel'], found['SegTTAModel'], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize('head', ['DeepLabV3Head', 'RMIDeepLabV3Head', 'RMIASPPHead'])
def test_windows_are_fused_by_their_mean_logits(head):
    """26 rows in windows of 16, 10 apart: rows 10 to 15 lie in both."""
    network = segmentor(RMI, 3)
    network['decode_head'] = dict(
        type=head,
        in_channels=3,
        channels=4,
        dilations=(1, 2),
        num_classes=3,
        align_corners=True,
        loss_decode=RMI,
    )
    network['test_cfg'] = dict(mode='slide', crop_size=(16, 16), stride=(10, 10))
    torch.manual_seed(0)
    model: nn.Module = MODELS.build(ConfigDict(network)).eval()
    nn.init.normal_(model.decode_head.conv_seg.weight)
    image = torch.randn(1, 3, 26, 16)
    sample = SegDataSample(metainfo=dict(ori_shape=(26, 16), img_shape=(26, 16)))
    with torch.no_grad():
        (found,) = model.predict(image, [sample])
        upper, lower = (
            model.encode_decode(rows, [dict(img_shape=(16, 16))])[0]
            for rows in (image[:, :, :16], image[:, :, 10:])
        )
    expected = torch.cat([upper[:, :10], (upper[:, 10:] + lower[:, :6]) / 2, lower[:, 6:]], dim=1)
    torch.testing.assert_close(found.seg_logits.data, expected)
    assert torch.equal(found.pred_sem_seg.data[0], expected.sigmoid().argmax(0))
