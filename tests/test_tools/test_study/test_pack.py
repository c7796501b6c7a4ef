"""Data packed small: the same labels under the same names, photographs as JPEG."""

import json

import numpy as np
import pytest
from PIL import Image

from mmseg_rmi.datasets import CamVidDataset, DRIVEFoldDataset
from tools.study import __main__ as study
from tools.study.pack import pack
from tools.study.platforms import PACKED, Platform

pytestmark = pytest.mark.usefixtures('mmseg_scope')


def save(array, file, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(array, np.uint8))
    if file.suffix == '.png' and array.ndim == 2:
        image.putpalette([7, 8, 9] * 256)  # which must not change what the label says
    image.save(file, **options)


@pytest.fixture
def data(tmp_path):
    """A smooth photograph and its label in each of three data sets."""
    smooth = np.stack([np.add.outer(np.arange(48), np.arange(64))] * 3, -1)
    label = np.add.outer(np.arange(48), np.arange(64)) // 12
    root = tmp_path / 'data'
    for split in ('train', 'val'):
        save(smooth, root / f'camvid/{split}/a.png')
        save(label, root / f'camvid/{split}annot/a.png')
        line = f'/SegNet/CamVid/{split}/a.png /SegNet/CamVid/{split}annot/a.png\n'
        (root / f'camvid/{split}.txt').write_text(line)
        lists = root / 'voc2012_subset/ImageSets/Segmentation'
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f'{split}.txt').write_text(f'2007_{split}\n')
        save(smooth, root / f'voc2012_subset/JPEGImages/2007_{split}.jpg', quality=100)
        save(label, root / f'voc2012_subset/SegmentationClass/2007_{split}.png')
    save(smooth, root / 'drive/images/21.png')
    save(label % 2, root / 'drive/labels/21.png')
    return root


def values(file):
    return np.asarray(Image.open(file)).astype(int)


def test_labels_stay_and_photographs_nearly_do(data, tmp_path):
    out = tmp_path / 'out'
    size = pack(data, tmp_path / 'none.pth', out, quality=90)
    assert size == sum(file.stat().st_size for file in out.rglob('*') if file.is_file())
    for source in data.rglob('*.*'):
        name = source.relative_to(data)
        packed = out / name if 'camvid/train/' not in str(name) else out / name.with_suffix('.jpg')
        packed = packed if 'camvid/val/' not in str(name) else out / name.with_suffix('.jpg')
        if source.suffix in ('.png', '.jpg'):
            exact = 'annot' in str(name) or 'Class' in str(name) or 'drive' in str(name)
            difference = np.abs(values(packed) - values(source))
            assert difference.max() <= (0 if exact else 8), name
    assert not list(out.rglob('camvid/train/*.png'))


def test_the_data_sets_read_what_is_packed(data, tmp_path):
    pack(data, tmp_path / 'none.pth', tmp_path / 'out', quality=90, sets=['camvid', 'drive'])
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    camvid = CamVidDataset('train.txt', str(tmp_path / 'out/camvid'), pipeline=pipeline)
    drive = DRIVEFoldDataset(data_root=str(tmp_path / 'out/drive'), pipeline=pipeline)
    assert camvid[0]['gt_seg_map'].max() == 9
    assert drive[0]['gt_seg_map'].max() == 1
    assert not (tmp_path / 'out/voc2012_subset').exists()


def test_results_on_packed_data_are_a_platform_of_their_own(data, tmp_path):
    weights = tmp_path / 'pretrained'
    weights.mkdir()
    (weights / 'backbone.pth').write_bytes(b'weights')
    pack(data, weights, tmp_path / 'out', quality=75, sets=['drive'])
    assert json.loads((tmp_path / 'out' / PACKED).read_text()) == dict(quality=75, sets=['drive'])
    assert (tmp_path / 'out/weights/backbone.pth').read_bytes() == b'weights'
    assert Platform.here('cpu', None, tmp_path / 'out').packed


def test_the_sizes_that_are_documented_are_those_of_the_default_quality(monkeypatch):
    monkeypatch.setattr('sys.argv', ['study', 'pack', '--out', 'packed'])
    assert study.parse_args().quality == 75


def test_what_cannot_be_packed_is_named(data, tmp_path):
    none = tmp_path / 'none.pth'
    with pytest.raises(ValueError, match=r'no data set isbi2012 in .*: name its parent'):
        pack(data, none, tmp_path / 'out', 80, ['isbi2012'])
    with pytest.raises(ValueError, match=r'ade20k is no data set of the study; there are camvid'):
        pack(data, none, tmp_path / 'out', 80, ['ade20k'])
    with pytest.raises(ValueError, match='holds something already'):
        pack(data, none, data, 80)
