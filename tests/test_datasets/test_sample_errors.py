"""An error in a data pipeline names the files of the sample, in workers too."""

import numpy as np
import pytest
from mmengine.dataset import Compose, ConcatDataset
from mmseg.datasets import BaseSegDataset
from PIL import Image
from torch.utils.data import DataLoader

import mmseg_rmi  # noqa: F401 (lets pipelines name files)
from mmseg_rmi.datasets.sample_errors import SampleError

LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


@pytest.fixture
def folder(tmp_path, mmseg_scope):
    for name in ('images', 'labels'):
        (tmp_path / name).mkdir()
        for number in range(2):
            content = np.zeros((8, 9, 3) if name == 'images' else (8, 9), np.uint8)
            Image.fromarray(content).save(tmp_path / name / f'{number}.png')
    (tmp_path / 'names.txt').write_text('0\n1\n')
    return tmp_path


def dataset(folder, *steps) -> BaseSegDataset:
    return BaseSegDataset(
        data_root=str(folder),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        ann_file='names.txt',
        img_suffix='.png',
        metainfo=dict(classes=('a', 'b')),
        pipeline=[*LOAD, *steps],
    )


def cut(path):
    path.write_bytes(path.read_bytes()[:45])


@pytest.mark.parametrize('kind', ['images', 'labels'])
@pytest.mark.parametrize(
    ('spoil', 'told'),
    [
        (cut, r'cannot be read \(45 bytes; .+\): write or copy it again; tools/check_labels\.py'),
        (lambda path: path.write_text(''), r'cannot be read \(0 bytes; .+\): write or copy'),
        (lambda path: path.unlink(), 'does not exist: correct the data_root'),
        (lambda path: (path.unlink(), path.mkdir()), 'cannot be read .*Is a directory'),
    ],
    ids=['cut', 'empty', 'missing', 'folder'],
)
def test_a_file_that_cannot_be_read_is_named_with_the_remedy(folder, kind, spoil, told):
    spoil(folder / kind / '1.png')
    both = ConcatDataset([dataset(folder)])
    assert both[0]['gt_seg_map'].shape == (8, 9)
    with pytest.raises(SampleError, match=f'{folder}/{kind}/1\\.png {told}'):
        both[1]


def test_a_worker_names_the_file_too(folder):
    cut(folder / 'labels' / '1.png')
    loader = DataLoader(dataset(folder), batch_size=None, num_workers=1)
    with pytest.raises(SampleError, match=r'labels/1\.png cannot be read'):
        list(loader)


def test_a_later_step_that_fails_names_itself_and_both_files(folder):
    def fail(results):
        raise IndexError('no such pixel')

    files = f'{folder}/images/0.png and {folder}/labels/0.png'
    with pytest.raises(SampleError, match=rf'function fails for {files} \(IndexError: no such'):
        dataset(folder, fail)[0]


def test_a_setting_that_does_not_fit_is_not_blamed_on_the_file(folder):
    wrong = dataset(folder)
    wrong.pipeline.transforms[1].reduce_zero_label = True
    with pytest.raises(SampleError, match=r'LoadAnnotations fails for .* settings of this step'):
        wrong[0]


def test_pipelines_do_what_they_did():
    assert Compose([lambda x: x + 1, lambda x: 2 * x])(1) == 4
    assert Compose([lambda x: None, lambda x: 2 * x])(1) is None
    with pytest.raises(ZeroDivisionError):  # without files there is nothing to name
        Compose([lambda x: 1 / x])(0)
    with pytest.raises(KeyError):
        Compose([lambda x: x['img']])(dict(path='a.png'))
