"""Weight decay that spares biases and norm layers."""

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class WeightsOnlyDecayConstructor(DefaultOptimWrapperConstructor):
    """Decay the weights of convolutions and linear layers, but no bias and no norm layer.

    MMEngine's ``bias_decay_mult`` and ``norm_decay_mult`` leave out whatever a custom key matches,
    so that a head with a learning rate of its own would have its biases and norms decayed.
    All of ``paramwise_cfg`` still works. Parameters with equal options share one group.

    Example:
        >>> from mmengine.optim import build_optim_wrapper
        >>> model = nn.ModuleDict(dict(backbone=nn.Conv2d(3, 8, 3), decode_head=nn.Conv2d(8, 2, 1)))
        >>> wrapper = build_optim_wrapper(
        ...     model,
        ...     dict(
        ...         optimizer=dict(type='SGD', lr=0.1, weight_decay=1e-4),
        ...         constructor='mmseg.WeightsOnlyDecayConstructor',
        ...         paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))),
        ...     ),
        ... )
        >>> [(group['lr'], group['weight_decay']) for group in wrapper.optimizer.param_groups]
        [(0.1, 0.0001), (0.1, 0.0), (1.0, 0.0001), (1.0, 0.0)]
    """

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', is_dcn_module: Any = None
    ) -> None:
        """Collect the parameters of a module and, at the root, group them by their options."""
        super().add_params(params, module, prefix, is_dcn_module)
        if not prefix:
            params[:] = self._merge(params)

    def _merge(self, params: list[dict]) -> list[dict]:
        groups: dict[tuple, dict] = {}
        for single in params:
            (parameter,) = single['params']
            options = {key: value for key, value in single.items() if key != 'params'}
            if parameter.ndim == 1:
                options['weight_decay'] = 0.0
            group = groups.setdefault(tuple(sorted(options.items())), dict(options, params=[]))
            group['params'].append(parameter)
        return list(groups.values())
