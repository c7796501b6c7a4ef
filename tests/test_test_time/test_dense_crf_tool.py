"""The dense CRF by one option of ``tools/test.py``."""

import json
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from PIL import Image

from helpers.tool_runs import TINY, TOOLS, config, load_tool, options, run

pytest.importorskip('pydensecrf', reason='needs pydensecrf2')
pytestmark = pytest.mark.usefixtures('mmseg_scope')


@pytest.fixture
def scenes(tmp_path):
    """A folder of two scenes."""
    load_tool('dataset_converters/street_scenes.py').write_split(
        tmp_path / 'scenes', 'val', 2, size=(144, 192), entropy=(0, 2)
    )
    return tmp_path / 'scenes'


def test_one_option_switches_it_on_with_label_maps_paintings_and_fusion(scenes, tmp_path):
    cfg = Config.fromfile(config('rmi'))
    cfg.merge_from_dict(TINY)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'weights.pth')
    command = [sys.executable, TOOLS / 'test.py', config('rmi'), tmp_path / 'weights.pth', '--tta']
    command += ['--out', tmp_path / 'labels', '--show-dir', tmp_path / 'painted']
    crf = ['test_cfg.type=DenseCRFTestLoop', 'test_cfg.iterations=1']
    fusion = 'tta_model.type=ProbabilityTTAModel'
    said = run(*command, '--work-dir', tmp_path / 'work', *options(scenes, *crf, fusion))
    labels = sorted((tmp_path / 'labels').glob('*.png'))
    assert [np.asarray(Image.open(path)).shape for path in labels] == [(144, 192)] * 2
    assert len(list((tmp_path / 'painted').rglob('*.png'))) == 2
    assert 'Dense CRF' in said
    assert '2/2' in said
    (results,) = (tmp_path / 'work').glob('*/*.json')
    assert 0 <= json.loads(results.read_text())['mIoU'] <= 100
