"""Region Mutual Information loss for MMSegmentation (Zhao et al., NeurIPS 2019).

Importing the package registers its losses, decode heads, data sets, hooks, metrics and
test-time models with ``mmseg.registry``; from a config,
``custom_imports=dict(imports=['mmseg_rmi'])`` does it.
"""

from mmseg_rmi import compat as compat

compat.prepare_framework()

from mmseg_rmi import (  # noqa: E402
    datasets,
    decode_heads,
    functional,
    hooks,
    losses,
    metrics,
    optim,
    test_time,
)

__version__ = '0.1.0'
__all__ = [
    'compat',
    'datasets',
    'decode_heads',
    'functional',
    'hooks',
    'losses',
    'metrics',
    'optim',
    'test_time',
]
