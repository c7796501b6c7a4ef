"""Region Mutual Information loss for semantic segmentation (Zhao et al., NeurIPS 2019).

The losses, the functions below them, the metrics' functions and the dense CRF need torch alone.
Where MMSegmentation is installed, importing the package registers its losses, decode heads, data
sets, hooks, metrics and test-time models with ``mmseg.registry``; from a config,
``custom_imports=dict(imports=['mmseg_rmi'])`` does it.
"""

import importlib
import sys
from types import ModuleType

from mmseg_rmi import compat, functional, losses, metrics, test_time
from mmseg_rmi.losses import AffinityFieldLoss, RMILoss, SigmoidCrossEntropyLoss

__version__ = '1.0.0'
__all__ = [
    'AffinityFieldLoss',
    'RMILoss',
    'SigmoidCrossEntropyLoss',
    'compat',
    'functional',
    'losses',
    'metrics',
    'test_time',
]
_NEED_MMSEGMENTATION = ('datasets', 'decode_heads', 'hooks', 'optim')


def _register() -> None:
    """Import, and so register, all that needs MMSegmentation.

    Where its installation is broken, a process that uses MMEngine must hear of it now, or a config
    would only find ``'RMILoss' is not in the registry``. Any other process can do without, and
    hears of it from the subpackage that it asks for.
    """
    in_use = sys.modules.get('mmengine') is not None
    try:
        for name in _NEED_MMSEGMENTATION:
            importlib.import_module(f'{__name__}.{name}')
        for package in (metrics, test_time):
            for name in package.__all__:
                getattr(package, name)
    except Exception:  # a library that does not fit raises whatever it likes
        if in_use:
            raise


def __getattr__(name: str) -> ModuleType:
    if name in _NEED_MMSEGMENTATION:
        return importlib.import_module(f'{__name__}.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


if compat.is_mmsegmentation_installed():
    __all__ += ['datasets', 'decode_heads', 'hooks', 'optim']
    _register()
