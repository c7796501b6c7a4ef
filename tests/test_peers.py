"""The snippets of README.md and docs/peers.md run, against the libraries themselves."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / 'README.md', ROOT / 'docs' / 'peers.md')
LIBRARIES = {
    'segmentation_models_pytorch': 'segmentation_models_pytorch',
    'MONAI': 'monai',
    'Transformers': 'transformers',
    'Lightning': 'lightning',
    'nnU-Net': 'nnunetv2',
}


def snippets() -> list:
    """Each Python block, with the section that it is in."""
    found = []
    text = '\n'.join(page.read_text() for page in PAGES)
    for section in re.split(r'^## ', text, flags=re.MULTILINE):
        title = section.partition('\n')[0]
        blocks = re.findall(r'^```python\n(.*?)^```', section, re.MULTILINE | re.DOTALL)
        found += [pytest.param(title, block, id=f'{title}-{i}') for i, block in enumerate(blocks)]
    return found


@pytest.mark.filterwarnings('ignore')  # of the libraries; ours stay errors below
@pytest.mark.filterwarnings(r'error:::mmseg_rmi\..*')
@pytest.mark.parametrize(('section', 'code'), snippets())
def test_snippet_runs(section: str, code: str, tmp_path: Path, monkeypatch) -> None:
    if section in LIBRARIES:
        pytest.importorskip(LIBRARIES[section], reason=f'{section} is not installed')
    monkeypatch.chdir(tmp_path)
    names: dict = {'__name__': 'snippet'}
    exec(compile(code, section, 'exec'), names)
    if 'loss' in names:
        assert names['loss'].isfinite()
    if hasattr(names.get('model'), 'parameters'):  # and is no config's
        gradients = [each.grad for each in names['model'].parameters() if each.grad is not None]
        assert any(gradient.any() for gradient in gradients)


def test_every_library_has_a_snippet() -> None:
    assert {each.values[0] for each in snippets()} >= set(LIBRARIES)
