"""Both lines of MMSegmentation behave alike."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmseg_rmi import compat

ONEDL = {'onedl-mmcv', 'onedl-mmengine', 'onedl-mmsegmentation'}
OPENMMLAB = {'mmcv', 'mmengine', 'mmsegmentation'}


@pytest.mark.parametrize(('installed', 'line'), [(ONEDL, 'OneDL'), (OPENMMLAB, 'OpenMMLab')])
def test_line_is_found_from_its_distributions(installed: set[str], line: str) -> None:
    assert compat.find_line({'torch', *installed}) == line


@pytest.mark.parametrize('installed', [set(), {'mmcv', 'mmengine'}])
def test_missing_line_says_what_to_install(installed: set[str]) -> None:
    with pytest.raises(ImportError, match=r"not installed: .*pip install .*'\.\[onedl\]'"):
        compat.find_line(installed)


def test_two_lines_are_named_with_the_command_that_keeps_one() -> None:
    with pytest.raises(ImportError, match='overwrite each other') as error:
        compat.find_line({'mmengine', *ONEDL})
    assert 'pip uninstall -y mmengine; pip install --force-reinstall' in str(error.value)


@pytest.mark.parametrize(
    ('base', 'model'),
    [
        ('mmseg::_base_/models/deeplabv3_r50-d8.py', 'EncoderDecoder'),
        ('mmseg::pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py', 'EncoderDecoder'),
        ('mmpretrain::_base_/models/resnet50.py', 'ImageClassifier'),
    ],
)
def test_bases_of_other_packages_resolve(base: str, model: str, tmp_path: Path) -> None:
    config = tmp_path / 'config.py'
    config.write_text(f'_base_ = {base!r}\n')
    assert Config.fromfile(config).model.type.removeprefix('mmseg.') == model


def test_missing_pkg_resources_is_explained_where_a_base_needs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mmengine.config import config as module

    monkeypatch.setattr(module, 'is_installed', module.is_installed)
    monkeypatch.setattr(compat, '_installed_distributions', lambda: OPENMMLAB)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    compat.prepare_framework()
    config = tmp_path / 'config.py'
    config.write_text("_base_ = 'mmseg::_base_/models/deeplabv3_r50-d8.py'\n")
    with pytest.raises(ModuleNotFoundError, match="pip install 'setuptools<82'"):
        Config.fromfile(config)
