"""All differences between the two lines of MMSegmentation, OneDL and OpenMMLab.

Both install modules of the same names (``mmseg``, ``mmengine``, ``mmcv``, ``mmpretrain``) from
distributions of different names. No other module asks which of them is installed. mmengine is
imported inside functions only, after a line has been found.
"""

import importlib.metadata
import importlib.util
import warnings
from collections.abc import Collection, Iterable
from functools import partial
from typing import Any, Literal

import torch

Line = Literal['OneDL', 'OpenMMLab']

_DISTRIBUTIONS: dict[Line, dict[str, str]] = {
    'OneDL': {
        'mmcv': 'onedl-mmcv',
        'mmengine': 'onedl-mmengine',
        'mmpretrain': 'onedl-mmpretrain',
        'mmseg': 'onedl-mmsegmentation',
    },
    'OpenMMLab': {
        'mmcv': 'mmcv',
        'mmengine': 'mmengine',
        'mmpretrain': 'mmpretrain',
        'mmseg': 'mmsegmentation',
    },
}


def prepare_framework() -> None:
    """Prepare the installed line of MMSegmentation; called before anything that needs it.

    Afterwards ``_base_ = 'mmseg::...'`` and ``'mmpretrain::...'`` resolve on both lines, and
    mmengine's ``activation_checkpointing`` keeps the gradients of modules that take or return
    lists.

    Raises:
        ImportError: no line of MMSegmentation is installed, or parts of both are.
    """
    line = find_line(_installed_distributions())
    _import_quietly()
    if line == 'OneDL':
        _resolve_scopes_to_onedl()
    elif importlib.util.find_spec('pkg_resources') is None:
        _explain_missing_pkg_resources()
    _keep_gradients_of_lists()


def is_mmsegmentation_installed() -> bool:
    """Tell whether a package ``mmseg`` is installed, of either line, broken or not."""
    return importlib.util.find_spec('mmseg') is not None


def find_line(installed: Collection[str]) -> Line:
    """Find the line of MMSegmentation among the names of the installed distributions.

    Raises:
        ImportError: there is none, or there are parts of both; says which command repairs it.

    Example:
        >>> find_line({'torch', 'mmcv', 'mmengine', 'mmsegmentation'})
        'OpenMMLab'
    """
    parts = {
        line: sorted(set(names.values()) & set(installed)) for line, names in _DISTRIBUTIONS.items()
    }
    if parts['OneDL'] and parts['OpenMMLab']:
        # MMSegmentation 1.2 refuses mmcv 2.2.
        again = ["'mmcv<2.2'" if name == 'mmcv' else name for name in parts['OpenMMLab']]
        raise ImportError(
            f'Parts of two lines of MMSegmentation are installed: {", ".join(parts["OpenMMLab"])} '
            f'(OpenMMLab) and {", ".join(parts["OneDL"])} (OneDL). They overwrite each other. '
            f'To keep OneDL: pip uninstall -y {" ".join(parts["OpenMMLab"])}; '
            f'pip install --force-reinstall --no-deps {" ".join(parts["OneDL"])}. '
            f'To keep OpenMMLab: pip uninstall -y {" ".join(parts["OneDL"])}; '
            "pip install 'setuptools<80' wheel; pip install --force-reinstall --no-deps "
            f'--no-build-isolation {" ".join(again)} (mmcv is compiled unless pip finds a wheel '
            'for your torch).'
        )
    for line, names in _DISTRIBUTIONS.items():
        if names['mmseg'] in parts[line]:
            return line
    raise ImportError(
        'MMSegmentation is not installed: found neither onedl-mmsegmentation nor mmsegmentation. '
        'The losses, the functions and the dense CRF work without it; decode heads, data sets, '
        'hooks and registered metrics do not. In a checkout of this project: pip install '
        "torchvision '.[onedl]' (maintained, nothing to compile) or, with an mmcv 2.1 built for "
        "your torch, '.[openmmlab]'; from a wheel: 'PATH/TO/THE.whl[onedl]'."
    )


def load_by_torch_alone() -> None:
    """Let mmengine load every checkpoint by ``torch.load`` as it is.

    OneDL's own loader allows the real getattr, and after a refusal loads without a check.
    """
    from mmengine.runner import checkpoint

    if hasattr(checkpoint, '_safe_torch_load'):
        checkpoint._safe_torch_load = torch.load


class ResumedBatches:
    """The endless iterator of mmengine's iteration-based loop, already at the right batch.

    On resume the loop asks for the batches that the run has trained on, only to drop them: one by
    one (OpenMMLab) or through ``skip_iter`` (OneDL). They are not loaded.

    Args:
        batches: the remaining batches.
        trained: number of batches that the run has trained on.
    """

    def __init__(self, batches: Iterable[Any], trained: int) -> None:
        self._batches = iter(batches)
        self._to_drop = trained

    def __iter__(self) -> 'ResumedBatches':
        return self

    def __next__(self) -> Any:
        if self._to_drop:
            self._to_drop -= 1
            return None
        return next(self._batches)

    def skip_iter(self, batches: int) -> None:
        """Drop ``batches`` batches that the run has trained on."""
        self._to_drop -= batches


def drops_trained_batches(loop: Any) -> bool:
    """Tell whether mmengine's iteration-based loop drops the batches trained on when it resumes.

    With OneDL, a config may ask it to start the data over.
    """
    return not getattr(loop, 'fast_forward_on_resume', False)


def _installed_distributions() -> set[str]:
    def is_installed(distribution: str) -> bool:
        try:
            importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            return False
        return True

    known = [name for names in _DISTRIBUTIONS.values() for name in names.values()]
    return set(filter(is_installed, known))


def _import_quietly() -> None:
    """Import what announces, when it is imported, that optional parts are missing.

    OneDL prints a line for the client of its data platform, from two modules; an mmcv without
    compiled operators warns of an attention that few models use. Only these two are kept back, and
    only here: whoever imports the same modules first sees both.
    """
    import mmcv.cnn  # noqa: F401 (adds filters of its own, which must outlast the next block)
    from mmengine.logging import logger

    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention``')
        importlib.import_module('mmcv.cnn.bricks.transformer')
    logger.print = lambda line: None if line == 'Could not import OneDL' else print(line)
    try:
        importlib.import_module('mmseg.datasets')
    finally:
        del logger.print


def _resolve_scopes_to_onedl() -> None:
    from mmengine.config.utils import MODULE2PACKAGE

    for module in ('mmpretrain', 'mmseg'):
        MODULE2PACKAGE[module] = _DISTRIBUTIONS['OneDL'][module]


def _explain_missing_pkg_resources() -> None:
    """Let OpenMMLab's mmengine say what to install when a '::' base needs pkg_resources."""
    from mmengine.config import config

    def is_installed(package: str) -> bool:
        raise ModuleNotFoundError(
            f"Bases given as '<scope>::<config>' (here of {package}) need pkg_resources, which "
            "setuptools has dropped: pip install 'setuptools<82'",
            name='pkg_resources',
        )

    config.is_installed = is_installed


def _keep_gradients_of_lists() -> None:
    """Let mmengine recompute activations by torch's newer implementation of it.

    The older one sees tensors only: a decode head, whose input is a list, fails, and an ASPP, whose
    output is one, silently loses its gradients.
    """
    from mmengine.runner import activation_checkpointing
    from torch.utils.checkpoint import checkpoint

    activation_checkpointing.checkpoint = partial(checkpoint, use_reentrant=False)
