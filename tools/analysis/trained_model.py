"""A trained network to look into, on the CPU."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader, load_state_dict
from mmseg.apis import init_model
from torch import nn

from mmseg_rmi import checkpoints, launch
from mmseg_rmi.trained_weights import check_weights, find_weights


def open_trained(
    config: str, checkpoint: str, options: Mapping[str, Any]
) -> tuple[Config, nn.Module]:
    """Read a config and build its network, in test mode, with a checkpoint's weights.

    Args:
        config: path of the config.
        checkpoint: path of the weights. It is unpickled as ``tools/test.py`` does.
        options: settings that override the config.
    """
    checkpoints.load_checkpoints_safely()
    cfg = launch.load_config(config)
    cfg.merge_from_dict(options)
    launch.require_settings(cfg, 'model')
    cfg.launcher = 'none'
    init_default_scope('mmseg')
    launch.fall_back_to_cpu(cfg)
    model = init_model(cfg, device='cpu')
    content = CheckpointLoader.load_checkpoint(checkpoint, 'cpu')
    check_weights(model, content, checkpoint)
    load_state_dict(model, find_weights(content))
    model.dataset_meta = content.get('meta', {}).get('dataset_meta')
    return cfg, model
