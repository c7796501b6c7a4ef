"""A test with all metrics, as a user would run it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from PIL import Image

from helpers.label_maps import evaluate, sample
from helpers.tool_runs import TINY, TOOLS, config, load_tool, options, run

views = load_tool('analysis/prediction_views.py')

EVALUATORS = [
    dict(type='ClasswiseIoUMetric'),
    dict(type='BoundaryIoUMetric'),
    dict(type='TrimapIoUMetric'),
    dict(type='RegionMutualInformationMetric', activation='sigmoid'),
]


@pytest.fixture(scope='module')
def tested(scenes, tmp_path_factory, mmseg_scope) -> Path:
    """Work dir of a test of random weights, predictions beside it."""
    folder = tmp_path_factory.mktemp('metrics')
    file = folder / 'metrics.py'
    file.write_text(f'_base_ = {config("rmi")!r}\ntest_evaluator = {EVALUATORS!r}\n')
    cfg = Config.fromfile(file)
    cfg.merge_from_dict(TINY)
    cfg.model.backbone.norm_cfg.type = cfg.model.decode_head.norm_cfg.type = 'BN'
    torch.manual_seed(0)
    torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, folder / 'weights.pth')
    (folder / 'test').mkdir()
    (folder / 'test' / 'metrics.py').write_text('# of the training')
    command = [sys.executable, TOOLS / 'test.py', file, folder / 'weights.pth']
    command += ['--work-dir', folder / 'test', '--out', folder / 'predictions']
    alone = [f'test_dataloader.{key}' for key in ('num_workers=0', 'persistent_workers=False')]
    run(*command, *options(scenes, *alone))
    return folder


def test_one_file_holds_the_values_of_all_metrics(tested):
    (file,) = (tested / 'test').glob('*/*.json')
    keys = json.loads(file.read_text()).keys()
    expected = {'mIoU', 'IoU.road', 'boundary/mIoU', 'boundary/IoU.road', 'trimap/mIoU.1'}
    assert expected | {'trimap/mIoU.40', 'rmi/score', 'rmi/score.sign symbol'} <= keys


def test_the_saved_predictions_have_these_values(tested, scenes, mmseg_scope):
    (file,) = (tested / 'test').glob('*/*.json')
    logged = json.loads(file.read_text())
    dataset = views.open_dataset(config('rmi'), {'test_dataloader.dataset.data_root': str(scenes)})
    samples = []
    for index in range(len(dataset)):
        view = views.read_view(dataset, index, {'random': tested / 'predictions'})
        samples.append(sample(view.predictions['random'], view.truth.astype(np.int64)))
    for metric in EVALUATORS[:3]:
        found = evaluate(metric, samples, dataset.metainfo['classes'])
        assert {key: logged[key] for key in found} == pytest.approx(found, nan_ok=True, rel=1e-6)
    assert len(list((tested / 'predictions').iterdir())) == len(samples) == 4
    assert Image.open(tested / 'predictions' / f'{view.name}.png').size == (192, 144)


def test_the_work_dir_keeps_the_config_of_the_training(tested):
    assert (tested / 'test' / 'metrics.py').read_text() == '# of the training'
    assert Config.fromfile(tested / 'test' / 'test_metrics.py').train_dataloader is None
