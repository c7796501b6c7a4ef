"""Weight decay that spares biases and norm layers."""

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class WeightsOnlyDecayConstructor(DefaultOptimWrapperConstructor):
    """Decay the weights of convolutions and linear layers, but not biases and norm layers.

    MMEngine's ``bias_decay_mult`` and ``norm_decay_mult`` skip parameters that a custom key
    matches, so that the biases and norms of a head with its own learning rate would be decayed.
    Everything else in ``paramwise_cfg`` works as in MMEngine::

        optim_wrapper = dict(
            optimizer=dict(type='SGD', lr=0.007, momentum=0.9, weight_decay=1e-4),
            constructor='WeightsOnlyDecayConstructor',
            paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))),
        )
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        # MMEngine calls add_params only if there is something to set.
        super().__init__(optim_wrapper_cfg, {'custom_keys': {}, **(paramwise_cfg or {})})

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', is_dcn_module: Any = None
    ) -> None:
        """Append one group of options for each parameter of a module."""
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:  # a submodule; its parameters are handled with the whole model
            return
        for group in params:
            if group['params'][0].ndim <= 1:
                group['weight_decay'] = 0.0
