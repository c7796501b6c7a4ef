"""MMSegmentation's own tests of heads and segmentors hold for ours.

OpenMMLab's wheel carries them beside ``mmseg``, and OneDL's does not.
"""

import functools
import importlib
import inspect
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import mmseg
import pytest
from mmseg.registry import MODELS

from mmseg_rmi import decode_heads
from mmseg_rmi.losses import RMILoss, SigmoidCrossEntropyLoss
from mmseg_rmi.test_time import ProbabilityTTAModel

pytestmark = pytest.mark.usefixtures('mmseg_scope')

FOLDER = Path(mmseg.__file__).parents[1] / 'tests' / 'test_models'
if not FOLDER.is_dir():
    pytest.skip('this MMSegmentation was installed without its tests', allow_module_level=True)

PACKAGE = 'tests_of_mmsegmentation'
HEADS = {  # of a module, the classes that ours take the place of
    'test_aspp_head': {
        'ASPPHead': decode_heads.RMIASPPHead,
        'DepthwiseSeparableASPPHead': decode_heads.RMIDepthwiseSeparableASPPHead,
    },
    'test_decode_head': {'BaseDecodeHead': decode_heads.DeepLabV3Head},
    'test_psp_head': {'PSPHead': decode_heads.RMIPSPHead},
    'test_segformer_head': {'SegformerHead': decode_heads.RMISegformerHead},
    'test_uper_head': {'UPerHead': decode_heads.RMIUPerHead},
}
SEGMENTORS = ('test_encoder_decoder', 'test_cascade_encoder_decoder', 'test_seg_tta_model')


@functools.cache
def load(folder: str, name: str) -> ModuleType:
    """Import a module of MMSegmentation's tests, which finds its helpers beside it."""
    package = f'{PACKAGE}_{folder}'
    if package not in sys.modules:
        root = FOLDER / folder
        spec = spec_from_file_location(
            package, root / '__init__.py', submodule_search_locations=[str(root)]
        )
        assert spec is not None
        sys.modules[package] = module_from_spec(spec)
    return importlib.import_module(f'{package}.{name}')


def run_tests_of(module: ModuleType) -> None:
    tests = [each for name, each in inspect.getmembers(module) if name.startswith('test_')]
    assert tests
    for test in tests:
        test()


@pytest.mark.parametrize('name', HEADS)
def test_of_heads_holds(name, monkeypatch):
    module = load('test_heads', name)
    for theirs, ours in HEADS[name].items():
        monkeypatch.setattr(module, theirs, ours)
    run_tests_of(module)


@pytest.mark.parametrize('loss', [RMILoss, SigmoidCrossEntropyLoss])
@pytest.mark.parametrize('name', SEGMENTORS)
def test_of_segmentors_holds(name, loss, monkeypatch):
    module = load('test_segmentors', name)
    monkeypatch.setitem(
        MODELS.module_dict, 'CrossEntropyLoss', lambda **_: loss()
    )  # heads' default
    monkeypatch.setitem(MODELS.module_dict, 'SegTTAModel', ProbabilityTTAModel)
    run_tests_of(module)
