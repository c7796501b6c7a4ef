"""Gradients of losses in a network, where they are known."""

import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from helpers.tiny_segmentor import segmentor
from helpers.tool_runs import config, load_tool, options
from mmseg_rmi import launch
from mmseg_rmi.datasets import CamVidDataset

balance = load_tool('analysis/gradient_balance.py')
pytestmark = pytest.mark.usefixtures('mmseg_scope')
LOSSES = balance.make_losses(['ridge: 0.5', 'ridge: 0.5, loss_weight: 3'])
REGION, TRIPLE = list(LOSSES)[2:]


def make_samples(images: int, void: int = 0) -> list[SegDataSample]:
    """Labels at random, but for the first few images, which are void."""
    labels = torch.randint(3, (images, 1, 32, 32), generator=torch.Generator().manual_seed(1))
    labels[:void] = 255
    meta = dict(img_shape=(32, 32))
    return [SegDataSample(gt_sem_seg=PixelData(data=label), metainfo=meta) for label in labels]


def make_images(images: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return list(255 * torch.rand(images, 3, 32, 32, generator=generator))


@pytest.fixture
def model():
    torch.manual_seed(0)
    cfg = segmentor(LOSSES['CE'], num_classes=3)
    cfg['data_preprocessor']['size'] = (32, 32)
    model = MODELS.build(cfg).eval()
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    return model


def weigh(model, samples: list[SegDataSample]):
    losses = {name: MODELS.build(loss) for name, loss in LOSSES.items()}
    batch = dict(inputs=make_images(len(samples)), data_samples=samples)
    return balance.measure(model, losses, batch)


def measure(model, samples: list[SegDataSample]) -> dict:
    return weigh(model, samples).losses


def test_gradients_are_those_of_training(model):
    found = measure(model, make_samples(3))
    for name, loss in LOSSES.items():
        model.decode_head.loss_decode = MODELS.build(loss)
        data = dict(inputs=make_images(3), data_samples=make_samples(3))
        losses = model(**model.data_preprocessor(data, training=True), mode='loss')
        value = next(value for key, value in losses.items() if 'loss' in key)
        weights = torch.autograd.grad(value, list(model.parameters()))
        expected = torch.cat([weight.flatten() for weight in weights])
        torch.testing.assert_close(found[name].weights, expected)


def test_a_streamed_head_has_the_gradients_of_the_plain_one():
    found = []
    for kind in ('ASPPHead', 'RMIASPPHead'):
        torch.manual_seed(0)
        cfg = segmentor(LOSSES['CE'] if kind == 'ASPPHead' else dict(type='RMILoss'), num_classes=3)
        cfg['data_preprocessor']['size'] = (32, 32)
        cfg['decode_head'].pop('num_convs', None)
        cfg['decode_head'].pop('concat_input', None)
        cfg['decode_head'].update(type=kind, dilations=(1, 2))
        model = MODELS.build(cfg).eval()
        torch.nn.init.normal_(model.decode_head.conv_seg.weight)
        found.append(measure(model, make_samples(2)))
    twin, streamed = found
    for name in LOSSES:
        torch.testing.assert_close(streamed[name].weights, twin[name].weights)


def test_a_setting_of_the_region_term_may_be_its_lambda():
    losses = balance.make_losses(['loss_lambda: 0.3'])
    assert losses['region, loss_lambda: 0.3'] == dict(type='RMILoss', loss_lambda=0.3)


def test_weight_of_a_loss_changes_the_length_alone(model):
    found = measure(model, make_samples(2))
    torch.testing.assert_close(found[TRIPLE].weights, 3 * found[REGION].weights)
    assert found[TRIPLE].largest_image == pytest.approx(found[REGION].largest_image)


def test_an_image_that_alone_has_labels_has_the_whole_gradient(model):
    assert measure(model, make_samples(3, void=2))[balance.BCE].largest_image == 1
    assert 1 / 3 < measure(model, make_samples(3))[balance.BCE].largest_image < 1


def test_classes_that_an_image_lacks_are_the_business_of_pixel_wise_losses(model):
    samples = make_samples(2)
    assert measure(model, samples)[balance.BCE].absent == 0
    samples[0].gt_sem_seg.data[samples[0].gt_sem_seg.data == 2] = 255
    found = measure(model, samples)
    assert 0 < found[balance.BCE].absent < 1
    assert found[REGION].absent == pytest.approx(0, abs=1e-6)


def test_pixels_are_counted_by_image_and_class():
    labels = torch.tensor([[[[0, 2], [255, 2]]], [[[255, 255], [255, 255]]]])
    assert balance.count_pixels(labels, 3).tolist() == [[1, 0, 2], [0, 0, 0]]


def test_the_region_term_leaves_the_map_of_a_class_that_no_image_shows(model):
    samples = make_samples(2)
    for sample in samples:
        sample.gt_sem_seg.data[sample.gt_sem_seg.data == 2] = 255
    found = weigh(model, samples)
    assert found.pixels.sum() == pytest.approx(1)
    assert found.pixels[2] == 0
    for name, each in found.losses.items():
        assert each.classes.sum() == pytest.approx(1)
        assert each.classes[2] == pytest.approx(each.absent, abs=1e-6), name
    assert found.losses[balance.BCE].classes[2] > 0.01
    assert found.losses[REGION].classes[2] == pytest.approx(0, abs=1e-6)


def test_agreement_is_the_mean_cosine_of_pairs():
    rows = torch.tensor([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0]])
    assert balance.agreement(rows) == pytest.approx(-1 / 3)
    assert balance.agreement(rows[:1].repeat(4, 1)) == pytest.approx(1)


def test_a_checkpoint_is_weighed_on_training_images(scenes, tmp_path, monkeypatch, capsys):
    changes = options(scenes, 'train_dataloader.batch_size=2')
    weights = tmp_path / 'weights.pth'
    arguments = [config('rmi'), str(weights), '--batches', '2', '--region', 'ridge: 0.5', *changes]
    monkeypatch.setattr(sys, 'argv', ['gradient_balance.py', *arguments])
    with pytest.raises(FileNotFoundError, match=r'weights\.pth'):
        balance.main()
    cfg = Config.fromfile(config('rmi'))
    cfg.merge_from_dict({**balance.parse_args().cfg_options, 'launcher': 'none'})
    launch.fall_back_to_cpu(cfg)
    state = MODELS.build(cfg.model).state_dict()
    torch.save(dict(state_dict=state, meta=dict(dataset_meta={})), weights)

    def rows() -> list[str]:
        capsys.readouterr()
        balance.main()
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith('│')]

    first = rows()
    names = [line.split('│')[1].strip() for line in first]
    assert names == ['CE', 'BCE', 'region, ridge: 0.5', *CamVidDataset.METAINFO['classes']]
    assert rows() == first  # the same images, crops and flips


def test_one_batch_is_refused(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['gradient_balance.py', 'c.py', 'w.pth', '--batches', '1'])
    with pytest.raises(SystemExit, match=r'--batches must be at least 2, .* not 1'):
        balance.main()
