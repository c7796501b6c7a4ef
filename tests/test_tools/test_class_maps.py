"""What is said of the maps of classes, where that is known, and what a fit makes of them."""

import sys

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from helpers.tiny_segmentor import segmentor
from helpers.tool_runs import config, load_tool, options
from mmseg_rmi import launch

maps = load_tool('analysis/class_maps.py')
pytestmark = pytest.mark.usefixtures('mmseg_scope')
IDENTITY = maps.Fit(torch.ones(3), torch.zeros(3))
A, B, C, VOID = 0, 1, 2, 255
SHAPES = ('ori_shape', 'img_shape')


def timid_image() -> tuple[torch.Tensor, torch.Tensor]:
    """B is where its map says, but A's map is higher everywhere; C is nowhere."""
    labels = torch.tensor([[A, A, B, B], [A, A, B, VOID]])
    of_b = torch.where(labels == A, -6.0, -2.0)
    return torch.stack([torch.zeros(2, 4), of_b, torch.full((2, 4), -8.0)]), labels


def make_batch(seed: int) -> dict:
    torch.manual_seed(seed)
    labels = PixelData(data=torch.randint(3, (1, 32, 32)))
    sample = SegDataSample(gt_sem_seg=labels, metainfo=dict.fromkeys(SHAPES, (32, 32)))
    return dict(inputs=[255 * torch.rand(3, 32, 32)], data_samples=[sample])


def sample_labels(logits: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.multinomial(logits.softmax(0).T, 1, generator=generator).flatten()


class TestFit:
    def test_scale_and_shift_of_a_distortion_are_undone(self):
        logits = 2 * torch.randn(3, 40_000, generator=torch.Generator().manual_seed(1))
        distortion = maps.Fit(torch.tensor([0.5, 1.0, 2.0]), torch.tensor([1.0, 0.0, -1.0]))
        fit = maps.fit_classes(distortion(logits), sample_labels(logits))
        shift = torch.tensor([-2.0, 0.0, 0.5])  # up to what all classes share
        torch.testing.assert_close(fit.scale, torch.tensor([2.0, 1.0, 0.5]), rtol=0.05, atol=0)
        torch.testing.assert_close(
            fit.shift - fit.shift.mean(), shift - shift.mean(), atol=0.1, rtol=0
        )

    def test_a_class_that_no_pixel_shows_stays_finite(self):
        fit = maps.fit_classes(torch.randn(3, 100), torch.zeros(100, dtype=torch.long))
        assert all(each.isfinite().all() for each in fit)

    def test_as_many_pixels_are_drawn_of_each_image_as_are_labelled_or_asked_for(self):
        image = timid_image()
        logits, labels = maps.draw_pixels([image, image], 100)
        assert labels.tolist().count(A) == 8
        assert labels.tolist().count(B) == 6
        assert (logits[1][labels == B] == -2).all()
        assert maps.draw_pixels([image, image], 3)[0].shape == (3, 6)

    def test_images_without_labels_are_refused(self):
        logits, labels = timid_image()
        with pytest.raises(ValueError, match='no training image has a labelled pixel'):
            maps.draw_pixels([(logits, torch.full_like(labels, VOID))], 10)


class TestMaps:
    def test_a_map_may_tell_all_and_win_nothing(self):
        found = maps.measure([timid_image()], IDENTITY, 'sigmoid')
        assert found.correlation[B] == pytest.approx(1)
        assert found.on_class[B] == pytest.approx(torch.tensor(-2.0).sigmoid().item())
        assert found.iou[:2].tolist() == pytest.approx([100 * 4 / 7, 0])
        assert found.iou[C].isnan()

    def test_a_shift_shows_what_it_knew(self):
        fit = IDENTITY._replace(shift=torch.tensor([0.0, 4.0, 0.0]))
        found = maps.measure([timid_image()], fit, 'sigmoid')
        assert found.fitted_iou[:2].tolist() == pytest.approx([100, 100])
        assert found.iou[B] == 0

    def test_classes_are_judged_by_the_images_that_show_or_lack_them(self):
        logits, labels = timid_image()
        found = maps.measure([(logits, labels), (logits, labels * 0)], IDENTITY, 'softmax')
        assert found.images.tolist() == [2, 1, 0]
        everywhere = logits.softmax(0)[B].mean().item()
        assert found.where_absent[B] == pytest.approx(everywhere)
        assert found.where_absent[A].isnan()

    def test_images_that_tell_nothing_of_a_correlation_do_not_lower_it(self):
        logits, labels = timid_image()
        filled, void = torch.full_like(labels, B), torch.full_like(labels, VOID)
        found = maps.measure(
            [(logits, each) for each in (labels, filled, void)], IDENTITY, 'sigmoid'
        )
        assert found.images[B] == 2
        assert found.correlation[B] == pytest.approx(1)

    def test_what_no_image_tells_is_a_dash(self, capsys):
        found = maps.measure([timid_image()], IDENTITY, 'sigmoid')
        maps.Console(width=100).print(maps.tabulate('ABC', found, ''))
        rows = [line.split('│') for line in capsys.readouterr().out.splitlines() if '│' in line]
        (row,) = ([cell.strip() for cell in row] for row in rows if row[1].strip() == 'C')
        assert row[2:-1] == ['0', '-', '0.000', '-', '-', '-']


def test_a_fit_in_the_last_layer_is_the_fit_of_what_it_predicts():
    cfg = ConfigDict(segmentor(dict(type='RMILoss'), num_classes=3))
    model = MODELS.build(cfg).eval()
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    fit = maps.Fit(torch.tensor([0.5, 1.0, 2.0]), torch.tensor([1.0, 0.0, -1.0]))
    batches = [make_batch(seed) for seed in range(2)]
    before = [logits for logits, _ in maps.predict(model, batches)]
    maps.write_into_last_layer(fit, model.decode_head)
    for logits, (after, _) in zip(before, maps.predict(model, batches), strict=True):
        torch.testing.assert_close(after, fit(logits))


def test_a_fitted_checkpoint_scores_as_the_table_says(scenes, tmp_path, monkeypatch, capsys):
    weights, fitted = tmp_path / 'weights.pth', tmp_path / 'fitted.pth'
    changes = options(scenes)
    cfg = Config.fromfile(config('rmi'))
    monkeypatch.setattr(sys, 'argv', ['class_maps.py', config('rmi'), str(weights), *changes])
    cfg.merge_from_dict({**maps.parse_args().cfg_options, 'launcher': 'none'})
    launch.fall_back_to_cpu(cfg)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight, std=0.1)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta={})), weights)

    def mean_row(checkpoint, *more: str) -> list[str]:
        arguments = ['class_maps.py', config('rmi'), str(checkpoint), *more, *changes]
        monkeypatch.setattr(sys, 'argv', arguments)
        capsys.readouterr()
        maps.main()
        (line,) = (line for line in capsys.readouterr().out.splitlines() if 'mean' in line)
        return [cell.strip() for cell in line.split('│')]

    before = mean_row(weights, '--out', str(fitted))
    after = mean_row(fitted)
    assert before[-3] != before[-2]
    assert after[-3] == before[-2]


def test_a_single_map_is_that_of_the_foreground_beside_its_complement():
    logits, labels = torch.tensor([[[3.0, -3.0], [2.0, -1.0]]]), torch.tensor([[[0, 1], [0, 1]]])
    sample = SegDataSample(
        seg_logits=PixelData(data=logits.sigmoid()), gt_sem_seg=PixelData(data=labels)
    )

    class Inverse:
        def test_step(self, batch):
            return [sample]

    found = maps.measure(
        maps.predict(Inverse(), [None]), maps.Fit(torch.ones(2), torch.zeros(2)), 'softmax'
    )
    assert found.correlation.tolist() == pytest.approx([-0.98, -0.98], abs=0.02)
    torch.testing.assert_close(found.on_class[1], logits.sigmoid()[0, :, 1].mean().double())


def test_no_pixels_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['class_maps.py', 'c.py', 'w.pth', '--pixels', '0'])
    with pytest.raises(SystemExit):
        maps.main()
    assert '--pixels must be at least 1, got 0' in capsys.readouterr().err
