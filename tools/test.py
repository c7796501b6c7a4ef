"""Test a segmentor: ``python tools/test.py CONFIG CHECKPOINT``."""

import argparse
from inspect import signature
from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import LoggerHook
from mmseg.registry import METRICS

from mmseg_rmi import launch
from mmseg_rmi.utils.command_line import run_tool, user_path
from mmseg_rmi.utils.config_types import find_class


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Test a segmentor')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out', type=user_path, metavar='DIR', help='save the predicted label maps here as PNG'
    )
    parser.add_argument('--show', action='store_true', help='show the painted predictions')
    parser.add_argument(
        '--show-dir', type=user_path, metavar='DIR', help='save the painted predictions here'
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between shown images')
    parser.add_argument('--tta', action='store_true', help='augment at test time')
    launch.add_common_arguments(parser)
    return parser.parse_args()


def save_predictions(cfg: Config, folder: Path) -> None:
    """Let the evaluators that can do so write each predicted label map."""
    evaluators = cfg.test_evaluator
    evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
    writers = [evaluator for evaluator in evaluators if writes_predictions(evaluator.type)]
    if not writers:
        raise ValueError(
            "--out needs an evaluator that writes predictions, such as dict(type='IoUMetric'), "
            f'and the config has {", ".join(str(evaluator.type) for evaluator in evaluators)}'
        )
    # They make the folder in the main process alone, perhaps after another one wants to write.
    folder.mkdir(parents=True, exist_ok=True)
    for evaluator in writers:
        evaluator.update(output_dir=str(folder), keep_results=True)


def writes_predictions(metric: str | type) -> bool:
    """Tell whether a metric (or its name) takes a folder to write to, itself or by inheritance."""
    found = find_class(metric, METRICS)
    bases = () if found is None else found.__mro__
    return any('output_dir' in signature(base.__init__).parameters for base in bases)  # type: ignore[misc]


def paint_predictions(cfg: Config, show: bool, wait_time: float, folder: Path | None) -> None:
    """Switch on the visualisation hook, on screen, into a folder or both."""
    if not (cfg.get('default_hooks') or {}).get('visualization') or not cfg.get('visualizer'):
        raise ValueError(
            '--show and --show-dir need a visualisation hook and the config has none: add '
            "default_hooks=dict(visualization=dict(type='SegVisualizationHook')) and "
            "visualizer=dict(type='SegLocalVisualizer', name='visualizer', "
            "vis_backends=[dict(type='LocalVisBackend')])"
        )
    # OpenMMLab's hook leaves out all but every 50th image unless told otherwise.
    cfg.default_hooks.visualization.update(draw=True, interval=1, show=show, wait_time=wait_time)
    if folder is not None:
        cfg.visualizer.save_dir = str(folder)


def augment(cfg: Config) -> None:
    """Average over the augmentations of the config's ``tta_pipeline``."""
    missing = [name for name in ('tta_model', 'tta_pipeline') if cfg.get(name) is None]
    if missing:
        raise ValueError(f'--tta needs {" and ".join(missing)}, which the config does not define')
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.model = {**cfg.tta_model, 'module': cfg.model}


def write_scores_once(cfg: Config) -> None:
    """Keep processes from writing the file of scores over one another."""
    launch.replace_default_hook(cfg, 'logger', LoggerHook, 'mmseg.MainProcessLoggerHook')


def main() -> None:
    """Test as the command line says."""
    args = parse_args()
    cfg = launch.read_config(args)
    launch.require_settings(cfg, 'model', 'test_dataloader', 'test_cfg', 'test_evaluator')
    cfg.load_from = args.checkpoint
    if args.out is not None:
        save_predictions(cfg, args.out)
    if args.show or args.show_dir is not None:
        paint_predictions(cfg, args.show, args.wait_time, args.show_dir)
    if args.tta:
        augment(cfg)
    write_scores_once(cfg)
    launch.forget_training(cfg)
    launch.build_runner(cfg).test()


if __name__ == '__main__':
    run_tool(main)
