"""The losses with torch alone, and what an import does where MMSegmentation is there, or broken."""

import importlib.util
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPTS = [
    path
    for path in sorted(Path(__file__).parents[1].glob('tools/**/*.py'))
    if "if __name__ == '__main__'" in path.read_text()
]

needs_mmsegmentation = pytest.mark.skipif(
    importlib.util.find_spec('mmseg') is None, reason='MMSegmentation is not installed'
)
FRAMEWORKS = ('mmcv', 'mmengine', 'mmpretrain', 'mmseg')
ABSENT = f"""
import sys
for name in {FRAMEWORKS}:
    sys.modules[name] = None
import importlib.metadata
installed = importlib.metadata.version
def version(name):
    if any(framework in name for framework in {FRAMEWORKS}):
        raise importlib.metadata.PackageNotFoundError(name)
    return installed(name)
importlib.metadata.version = version
"""
DOUBLED = """
import importlib.metadata
importlib.metadata.version = lambda name: '1.0'
"""
BROKEN = """
import sys
from importlib.machinery import ModuleSpec
class RefusingFinder:  # as mmseg does beside an mmcv that it was not tested with
    def find_spec(self, name, path, target=None):
        return ModuleSpec(name, self) if name == 'mmseg' else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        assert False, 'MMCV==9.9 is used but incompatible'
sys.meta_path.insert(0, RefusingFinder())
"""


def run(code: str, setting: str = '') -> subprocess.CompletedProcess:
    """Run code in a process of its own, after that which makes its setting."""
    program = textwrap.dedent(setting) + textwrap.dedent(code)
    return subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)


def output_of(code: str, setting: str = '') -> str:
    result = run(code, setting)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_losses_train_with_torch_alone() -> None:
    code = """
    import torch
    from mmseg_rmi import AffinityFieldLoss, RMILoss, SigmoidCrossEntropyLoss

    labels = torch.randint(0, 3, (2, 32, 32))
    labels[:, :2] = 255
    for loss in (AffinityFieldLoss(), RMILoss(), SigmoidCrossEntropyLoss()):
        logits = torch.zeros(2, 3, 32, 32, requires_grad=True)
        loss(logits, labels).backward()
        print(bool(logits.grad.isfinite().all() and logits.grad.any()))
    """
    assert output_of(code, ABSENT).split() == ['True'] * 3


def test_metrics_and_the_dense_crf_need_torch_and_its_library_alone() -> None:
    code = """
    import torch
    from mmseg_rmi.functional import region_score
    from mmseg_rmi.metrics import boundary_iou, region_scores, trimap_iou
    from mmseg_rmi.test_time import DenseCRF

    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[:, 10:] = 1
    print(boundary_iou(labels, labels, 2).min().item(), trimap_iou(labels, labels, 2).min().item())
    """
    assert output_of(code, ABSENT).split() == ['1.0', '1.0']


@pytest.mark.parametrize('setting', ['', ABSENT, DOUBLED, BROKEN])
def test_import_prints_nothing(setting: str) -> None:
    result = run('import mmseg_rmi', setting)
    assert (result.returncode, result.stdout, result.stderr) == (0, '', '')


@needs_mmsegmentation
def test_import_keeps_back_nothing_that_is_printed_before_or_after_it() -> None:
    code = """
    import mmseg.datasets
    print('before')
    import mmseg_rmi
    from mmengine.logging import print_log
    print_log('Could not import OneDL')
    """
    before, _, after = output_of(code).partition('before\n')
    assert before == output_of('import mmseg.datasets')
    assert after == 'Could not import OneDL\n'


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.stem)
def test_script_imports_the_plugin_before_what_prints_on_import(script: Path) -> None:
    names = re.findall(r'^(?:from|import) ([\w.]+)', script.read_text(), re.MULTILINE)
    prints = re.compile(r'mmcv\.cnn|mmpretrain|mmseg\.(?!registry|structures|utils)')
    printing = [name for name in names if prints.match(name)]
    plugin = [name for name in names if name.startswith('mmseg_rmi')]
    assert not printing or names.index(plugin[0]) < names.index(printing[0])


def errors_of(statements: tuple[str, ...], setting: str) -> list[str]:
    """The error that each of these imports raises, in one process."""
    code = f"""
    for statement in {statements}:
        try:
            exec(statement)
        except ImportError as error:
            print(error)
    """
    return output_of(code, setting).splitlines()


def test_what_needs_mmsegmentation_says_so() -> None:
    statements = (
        'import mmseg_rmi.decode_heads',
        'from mmseg_rmi import datasets',
        'import mmseg_rmi; mmseg_rmi.hooks',
        'from mmseg_rmi.optim import WeightsOnlyDecayConstructor',
        'from mmseg_rmi.metrics import BoundaryIoUMetric',
        'from mmseg_rmi.test_time import DenseCRFTestLoop',
    )
    errors = errors_of(statements, ABSENT)
    assert len(errors) == len(statements)
    assert all(error.startswith('MMSegmentation is not installed: ') for error in errors)


def test_everything_that_a_package_lists_can_be_imported_without_mmsegmentation() -> None:
    code = """
    for name in ('mmseg_rmi', 'mmseg_rmi.functional', 'mmseg_rmi.metrics', 'mmseg_rmi.test_time'):
        exec(f'from {name} import *')
    print(RMILoss.__name__, rmi_loss.__name__, boundary_iou.__name__, DenseCRF.__name__)
    """
    assert output_of(code, ABSENT) == 'RMILoss rmi_loss boundary_iou DenseCRF\n'


@needs_mmsegmentation
def test_names_of_the_packages_are_there_to_complete() -> None:
    code = """
    import mmseg_rmi
    packages = [getattr(mmseg_rmi, name) for name in mmseg_rmi.__all__]
    for package in (mmseg_rmi, *(each for each in packages if hasattr(each, '__path__'))):
        missing = set(package.__all__) - set(dir(package))
        assert not missing, missing
    print('TrimapIoUMetric' in dir(mmseg_rmi.metrics), 'hooks' in mmseg_rmi.__all__)
    """
    assert output_of(code) == 'True True\n'


@pytest.mark.parametrize('setting', [DOUBLED, BROKEN])
def test_broken_mmsegmentation_leaves_the_losses_to_other_programs(setting: str) -> None:
    assert output_of('from mmseg_rmi import RMILoss; print(RMILoss().loss_name)', setting)


def test_two_lines_of_mmsegmentation_are_refused_by_what_needs_one() -> None:
    statements = ('import mmseg_rmi.decode_heads', 'from mmseg_rmi.metrics import TrimapIoUMetric')
    errors = errors_of(statements, DOUBLED)
    assert len(errors) == len(statements)
    assert all('Parts of two lines of MMSegmentation are installed' in error for error in errors)


@needs_mmsegmentation
@pytest.mark.parametrize(
    ('setting', 'error'),
    [
        (DOUBLED, 'Parts of two lines of MMSegmentation are installed: '),
        (BROKEN, 'MMCV==9.9 is used but incompatible'),
    ],
)
def test_broken_mmsegmentation_is_told_to_custom_imports(setting: str, error: str) -> None:
    code = """
    from mmengine.utils import import_modules_from_strings
    import_modules_from_strings(['mmseg_rmi'])
    """
    result = run(code, setting)
    assert result.returncode != 0
    assert error in result.stderr


@needs_mmsegmentation
@pytest.mark.parametrize(
    ('setting', 'error'),
    [
        (ABSENT, 'MMSegmentation is not installed: '),
        (DOUBLED, 'Parts of two lines of MMSegmentation are installed: '),
        (BROKEN, 'MMCV==9.9 is used but incompatible'),
    ],
)
def test_absent_or_broken_mmsegmentation_is_told_before_a_script_runs(
    setting: str, error: str
) -> None:
    result = run("import runpy; runpy.run_module('mmseg_rmi', run_name='__main__')", setting)
    assert result.returncode != 0
    assert error in result.stderr


@needs_mmsegmentation
def test_custom_imports_register_everything() -> None:
    code = """
    from mmengine.utils import import_modules_from_strings
    mmseg_rmi = import_modules_from_strings('mmseg_rmi')
    from mmseg import registry
    kinds = [each for each in vars(registry).values() if hasattr(each, 'module_dict')]
    known = {each for kind in kinds for each in kind.module_dict.values()}
    names = 'datasets decode_heads hooks losses metrics optim test_time'.split()
    packages = [getattr(mmseg_rmi, name) for name in names]
    members = [getattr(package, name) for package in packages for name in package.__all__]
    print([each.__name__ for each in members if isinstance(each, type) and each not in known])
    """
    assert output_of(code).endswith("['RegionLossMixin', 'DenseCRF']\n")  # which no config names
