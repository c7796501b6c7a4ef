"""Train a segmentor: ``python tools/train.py CONFIG``."""

import argparse

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmseg.registry import OPTIM_WRAPPERS

from mmseg_rmi import launch, resume
from mmseg_rmi.utils.command_line import run_tool
from mmseg_rmi.utils.config_types import find_class


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Train a segmentor')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on from the newest whole checkpoint in the work dir, if there is one',
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    launch.add_common_arguments(parser)
    return parser.parse_args()


def use_mixed_precision(cfg: Config) -> None:
    """Train in mixed precision with dynamic loss scaling."""
    if get_device() == 'cpu':
        raise ValueError('--amp needs a GPU and none was found: leave it out')
    wrapper = cfg.optim_wrapper
    kind = find_class(wrapper.get('type', 'OptimWrapper'), OPTIM_WRAPPERS)
    if kind not in (OptimWrapper, AmpOptimWrapper):
        raise ValueError(f'--amp works with OptimWrapper alone, the config has {wrapper.type}')
    wrapper.type = 'AmpOptimWrapper'
    wrapper.setdefault('loss_scale', 'dynamic')


def main() -> None:
    """Train as the command line says."""
    args = parse_args()
    cfg = launch.read_config(args)
    launch.require_settings(cfg, 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    if args.amp:
        use_mixed_precision(cfg)
    launch.save_atomically(cfg)
    with launch.exclusive(cfg):
        resuming = args.resume or cfg.get('resume')
        notes = resume.resume_from_newest(cfg) if resuming else []
        launch.build_runner(cfg, notes).train()


if __name__ == '__main__':
    run_tool(main, interrupted='Interrupted: --resume goes on from the newest checkpoint.')
