"""Weight decay that spares biases and norm layers."""

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class WeightsOnlyDecayConstructor(DefaultOptimWrapperConstructor):
    """Decay the weights of convolutions and linear layers, but no bias and no norm layer.

    MMEngine's ``bias_decay_mult`` and ``norm_decay_mult`` pass over whatever a custom key matches,
    so that a head with a learning rate of its own would have its biases and norms decayed.
    Everything else in ``paramwise_cfg`` works as it does there::

        optim_wrapper = dict(
            optimizer=dict(type='SGD', lr=0.007, momentum=0.9, weight_decay=1e-4),
            constructor='WeightsOnlyDecayConstructor',
            paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))),
        )
    """

    paramwise_cfg: dict[str, Any]

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, {'custom_keys': {}, **(paramwise_cfg or {})})

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', is_dcn_module: Any = None
    ) -> None:
        """Append one group of options for each parameter of a module."""
        if not prefix:
            self._spare_vectors(module)
        super().add_params(params, module, prefix, is_dcn_module)

    def _spare_vectors(self, model: nn.Module) -> None:
        """Give each vector (bias, norm) a key of its own, its full name, which beats all others."""
        keys: dict[str, dict] = self.paramwise_cfg['custom_keys']
        by_length = sorted(sorted(keys), key=len, reverse=True)  # MMEngine's order of precedence
        vectors = [name for name, parameter in model.named_parameters() if parameter.ndim == 1]
        spared = {
            name: {**next((keys[key] for key in by_length if key in name), {}), 'decay_mult': 0.0}
            for name in vectors
        }
        self.paramwise_cfg = {**self.paramwise_cfg, 'custom_keys': {**keys, **spared}}
