"""What the evaluation server of PASCAL VOC is sent."""

import sys
import tarfile

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import set_random_seed
from mmseg.datasets import PascalVOCDataset
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
from PIL import Image
from torch import nn

from helpers.tool_runs import ROOT, TOOLS, load_tool, run
from mmseg_rmi.datasets import CamVidDataset

voc_submission = load_tool('voc_submission.py')
LEAF = ROOT / 'configs/deeplabv3plus/deeplabv3plus_r101-d16_4xb4-rmi-30k_voc12aug-513x513.py'
SIZES = {'2008_000006': (40, 33), '2008_000011': (32, 48)}  # width and height
FOLDER = 'results/VOC2012/Segmentation/comp6_test_cls'


@pytest.fixture(scope='module')
def submission(tmp_path_factory):
    """A network of random weights, two images that have no labels, and what is made of them."""
    root = tmp_path_factory.mktemp('voc')
    (root / 'data/JPEGImages').mkdir(parents=True)
    (root / 'data/ImageSets/Segmentation').mkdir(parents=True)
    (root / 'data/ImageSets/Segmentation/test.txt').write_text('\n'.join(SIZES) + '\n')
    generator = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        blocks = np.kron(generator.integers(0, 256, (3, 3, 3)), np.ones((height, width, 1)))
        image = blocks[::3, ::3].astype(np.uint8)
        Image.fromarray(image).save(root / f'data/JPEGImages/{name}.jpg')
    config = root / 'config.py'
    config.write_text(
        f'_base_ = {str(LEAF)!r}\n'
        "norm = dict(type='BN')\n"
        'model = dict(\n'
        '    backbone=dict(\n'
        '        depth=18, stem_channels=8, base_channels=8, norm_cfg=norm, init_cfg=None\n'
        '    ),\n'
        '    decode_head=dict(\n'
        '        in_channels=64, channels=8, c1_in_channels=8, c1_channels=8, norm_cfg=norm\n'
        '    ),\n'
        ')\n'
        f'data_root = {str(root / "data")!r}\n'
        'test_dataloader = dict(\n'
        '    num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root)\n'
        ')\n'
    )
    model = build(config)
    torch.save(dict(state_dict=model.state_dict()), root / 'weights.pth')
    paths = ['--out', root / 'out', '--work-dir', root / 'work']
    run(sys.executable, TOOLS / 'voc_submission.py', config, root / 'weights.pth', *paths)
    return root, model


def build(config):
    register_all_modules()
    set_random_seed(0)
    model = MODELS.build(Config.fromfile(config).model).eval()
    for parameter in model.decode_head.parameters():
        nn.init.normal_(parameter)  # several classes, not the same everywhere
    return model


def test_archive_holds_one_map_per_image_at_the_path_of_the_server(submission):
    root, _ = submission
    with tarfile.open(root / 'out/results.tgz') as archive:
        assert sorted(archive.getnames()) == [f'{FOLDER}/{name}.png' for name in sorted(SIZES)]


def test_maps_have_the_size_of_the_image_and_the_colours_of_voc(submission):
    root, _ = submission
    for name, size in SIZES.items():
        image = Image.open(root / 'out' / FOLDER / f'{name}.png')
        assert image.mode == 'P'
        assert image.size == size
        # as VOC's development kit paints aeroplane, bicycle and tv
        palette = image.getpalette()
        assert palette[3:9] == [128, 0, 0, 0, 128, 0]
        assert palette[60:63] == [0, 64, 128]


def test_maps_hold_what_the_network_predicts(submission):
    root, model = submission
    for name in SIZES:
        pixels = np.asarray(Image.open(root / f'data/JPEGImages/{name}.jpg'), dtype=np.float64)
        image = (pixels - (116, 113, 104)) / (69.58, 68.68, 72.67)
        inputs = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            logits = model.encode_decode(inputs, [dict(img_shape=inputs.shape[2:])])
        expected = logits.argmax(dim=1)[0].numpy()
        found = np.asarray(Image.open(root / 'out' / FOLDER / f'{name}.png'))
        assert (found == expected).mean() > 0.99  # readers of JPEG differ by a step of colour
        assert len(np.unique(found)) > 1


@pytest.mark.parametrize(
    ('kind', 'told'),
    [
        ('CamVidDataset', 'CamVidDataset has 11'),
        (CamVidDataset, 'CamVidDataset has 11'),
        ('RepeatDataset', 'RepeatDataset has 0: .* without a wrapper'),
        ('Unregistered', 'Unregistered has 0'),
    ],
)
def test_other_classes_are_refused(tmp_path, kind, told):
    config = Config(dict(test_dataloader=dict(dataset=dict(type=kind))))
    with pytest.raises(ValueError, match=f'the 21 classes of VOC, but {told}'):
        voc_submission.test_on_the_test_split(config, tmp_path)


@pytest.mark.parametrize('kind', ['PascalVOCDataset', PascalVOCDataset])
@pytest.mark.parametrize(
    'step', ['LoadAnnotations', 'mmseg.LoadAnnotations', 'LoadKeptAnnotations', LoadAnnotations]
)
def test_labels_are_not_loaded_however_the_config_names_that(mmseg_scope, tmp_path, kind, step):
    pipeline = [dict(type='LoadImageFromFile'), dict(type=step), dict(type='PackSegInputs')]
    config = Config(dict(test_dataloader=dict(dataset=dict(type=kind, pipeline=pipeline))))
    voc_submission.test_on_the_test_split(config, tmp_path)
    assert config.test_dataloader.dataset.pipeline == [pipeline[0], pipeline[2]]


def test_the_folder_may_be_below_home(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    monkeypatch.setattr(sys, 'argv', ['voc_submission.py', 'a.py', 'a.pth', '--out=~/submission'])
    assert str(voc_submission.parse_arguments().out) == '/home/me/submission'


def test_missing_map_is_named(tmp_path):
    (tmp_path / 'a.png').touch()
    with pytest.raises(FileNotFoundError, match=r'2 label maps are missing, b\.png first'):
        voc_submission.pack(tmp_path, ['a', 'b', 'c'], tmp_path)
