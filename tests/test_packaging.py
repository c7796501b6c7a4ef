"""What an installed plugin carries, and that it works outside the checkout."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml

import mmseg_rmi

ROOT = Path(__file__).parents[1]
DEMO = 'configs/demo/deeplabv3plus_r18-d16_1xb4-rmi-800_street-scenes-144x192.py'

pytest.importorskip('hatchling', reason='building the package needs hatchling')
pytest.importorskip('pip', reason='installing the package needs pip')


def run(*command: object, cwd: Path) -> str:
    """Run a command without what this process's environment says of Python; return its output."""
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    result = subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def build(target: str, source: Path, out: Path) -> Path:
    run(sys.executable, '-m', 'hatchling', 'build', '-t', target, '-d', out, cwd=source)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build('wheel', ROOT, tmp_path_factory.mktemp('wheel'))


def make_environment(folder: Path) -> Path:
    """Make an environment that has all packages of this one but the plugin; return its Python."""
    run(sys.executable, '-m', 'venv', '--without-pip', folder, cwd=folder.parent)
    python = folder / 'bin' / 'python'
    site_packages = run(
        python, '-c', "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
    )
    frameworks = Path(sysconfig.get_path('purelib'))
    # A path in a .pth file is searched, while .pth files in it, as of an editable plugin, are not.
    Path(site_packages.strip(), 'frameworks.pth').write_text(str(frameworks))
    for shim in frameworks.glob('distutils*.pth'):  # setuptools' stand-in, which mmengine imports
        shutil.copy(shim, site_packages.strip())
    return python


def install(python: Path, *requirement: object) -> None:
    options = ['--quiet', '--no-deps', '--no-index', '--no-build-isolation', '--ignore-installed']
    pip = [sys.executable, '-m', 'pip', '--python', python]
    run(*pip, 'install', *options, *requirement, cwd=python.parent)


def files_for_mim() -> set[str]:
    carried = [ROOT / 'model-index.yml', *ROOT.glob('configs/**/*'), *ROOT.glob('tools/**/*')]
    return {
        f'mmseg_rmi/.mim/{path.relative_to(ROOT)}'
        for path in carried
        if path.is_file()
        and '__pycache__' not in path.parts
        and (ROOT / 'tools' / 'study') not in path.parents
    }


def test_wheel_carries_configs_tools_and_model_index(wheel: Path) -> None:
    carried = {name for name in zipfile.ZipFile(wheel).namelist() if '/.mim/' in name}
    assert f'mmseg_rmi/.mim/{DEMO}' in carried
    assert carried == files_for_mim()


def test_wheel_of_the_source_archive_is_the_same(wheel: Path, tmp_path: Path) -> None:
    archive = build('sdist', ROOT, tmp_path / 'archive')
    run('tar', 'xzf', archive, cwd=tmp_path)
    again = build('wheel', tmp_path / archive.name.removesuffix('.tar.gz'), tmp_path / 'wheel')
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_wheel_that_is_built_again_is_the_same_byte_by_byte(wheel: Path, tmp_path: Path) -> None:
    assert build('wheel', ROOT, tmp_path / 'again').read_bytes() == wheel.read_bytes()


def test_workflows_name_the_commits_of_the_actions_that_they_run() -> None:
    workflows = ''.join(path.read_text() for path in ROOT.glob('.github/workflows/*.yml'))
    used = re.findall(r'uses: (\S+)', workflows)
    assert used
    assert [action for action in used if not re.search(r'@[0-9a-f]{40}$', action)] == []


def test_workflows_install_by_hash_what_is_not_built_or_tested() -> None:
    for path in ROOT.glob('.github/workflows/*.yml'):
        for command in re.findall(r'pip install (.*)', path.read_text()):
            if command != 'torch' and not command.startswith('dist/'):
                assert command.startswith('--require-hashes -r .github/'), f'{path}: {command}'


@pytest.mark.parametrize('name', ['release', 'tools'])
def test_each_tool_of_ci_is_pinned_by_hash(name: str) -> None:
    lines = (ROOT / '.github' / f'{name}-requirements.txt').read_text().splitlines()
    pins = [n for n, line in enumerate(lines) if re.match(r'[a-z0-9.-]+==\S+ ', line)]
    assert len(pins) > 5
    for pin in pins:
        assert re.fullmatch(r'    --hash=sha256:[0-9a-f]{64}( \\)?', lines[pin + 1])


def test_ci_lints_with_the_versions_that_developers_install() -> None:
    pins = (ROOT / '.github' / 'tools-requirements.txt').read_text()
    for tool in ('mypy', 'ruff'):
        (version,) = re.findall(rf"'{tool}==([\d.]+)\.\*'", (ROOT / 'pyproject.toml').read_text())
        assert f'\n{tool}=={version}.' in pins


def test_importing_the_plugin_asks_no_other_machine(tmp_path: Path) -> None:
    guard = """
import socket, sys
def refuse(*address):
    sys.exit(f'asked for {address}')
socket.socket.connect = socket.getaddrinfo = refuse
import mmseg_rmi
"""
    run(sys.executable, '-c', guard, cwd=ROOT)


def test_wheel_depends_on_no_line_of_mmsegmentation(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith('.dist-info/METADATA'))
        metadata = archive.read(name).decode()
    required = re.findall(r'^Requires-Dist: ([\w-]+)(?!.*extra ==)', metadata, re.MULTILINE)
    assert sorted(required) == ['numpy', 'torch']
    assert f'\nVersion: {mmseg_rmi.__version__}\n' in metadata


@pytest.mark.parametrize('editable', [False, True])
def test_mim_finds_configs_and_tools(editable: bool, wheel: Path, tmp_path: Path) -> None:
    python = make_environment(tmp_path / 'environment')
    install(python, *(['--editable', ROOT] if editable else [wheel]))
    code = "from mmengine.utils import get_installed_path as p; print(p('mmseg_rmi'))"
    folder = Path(run(python, '-c', code, cwd=tmp_path).split()[-1])
    assert (folder == ROOT / 'mmseg_rmi') is editable
    for path in ('tools/train.py', 'tools/test.py', 'model-index.yml', DEMO):
        assert (folder / '.mim' / path).is_file()


def test_installed_wheel_swaps_a_loss_and_trains_outside_the_checkout(
    wheel: Path, tmp_path: Path
) -> None:
    python = make_environment(tmp_path / 'environment')
    install(python, wheel)
    (mim,) = tmp_path.glob('environment/lib/*/site-packages/mmseg_rmi/.mim')
    scenes = mim / 'tools/dataset_converters/street_scenes.py'
    run(python, scenes, 'data/street_scenes', '--train', 4, '--val', 1, cwd=tmp_path)
    options = ['train_cfg.max_iters=1', 'train_cfg.val_interval=1']
    cross_entropy = mim / DEMO.replace('-rmi-', '-ce-')
    run(python, mim / 'tools/swap_loss.py', cross_entropy, '-o', 'mine.py', cwd=tmp_path)
    run(python, mim / 'tools/train.py', 'mine.py', '--cfg-options', *options, cwd=tmp_path)
    assert list((tmp_path / 'work_dirs').glob('*/iter_1.pth'))


def test_model_index_leads_to_every_config_but_demo_and_study() -> None:
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert index['Import'] == sorted(index['Import'])
    named = []
    for metafile in index['Import']:
        models = yaml.safe_load((ROOT / metafile).read_text())['Models']
        named += [model['Config'] for model in models]
    leaves = {str(path.relative_to(ROOT)) for path in ROOT.glob('configs/[!_]*/*.py')}
    assert set(named) <= leaves
    apart = ('configs/demo/', 'configs/study/')
    assert sorted(name for name in named if not name.startswith(apart)) == sorted(
        leaf for leaf in leaves if not leaf.startswith(apart)
    )


def test_model_index_passes_its_own_check(monkeypatch: pytest.MonkeyPatch) -> None:
    modelindex = pytest.importorskip('modelindex', reason='model-index is of the extra dev')
    monkeypatch.chdir(ROOT)
    index = modelindex.load('model-index.yml')
    index.build_models_with_collections()
    index.check(silent=True)
    assert not index.check_errors
    names = [model.name for model in index.models]
    assert len(names) == len(set(names))


def test_every_entry_has_the_fields_of_mmsegmentation() -> None:
    for metafile in yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']:
        content = yaml.safe_load((ROOT / metafile).read_text())
        collections = {collection['Name'] for collection in content['Collections']}
        for model in content['Models']:
            assert model['In Collection'] in collections
            assert {'Name', 'Config', 'Metadata', 'Framework', 'Paper'} <= set(model)
            metadata = {'Training Data', 'Batch Size', 'Architecture', 'Training Resources'}
            assert metadata <= set(model['Metadata'])
            if 'Results' in model:  # it has been trained
                assert {'Task', 'Dataset', 'Metrics'} == set(model['Results'])
                assert {'Training log', 'Code'} <= set(model)
                assert 'Memory (GB)' in model['Metadata']
