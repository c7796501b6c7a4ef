"""Predict the test set of PASCAL VOC 2012 and pack what its evaluation server takes.

    python tools/voc_submission.py CONFIG CHECKPOINT --out work_dirs/submission

writes ``results/VOC2012/Segmentation/comp6_test_cls/<image>.png`` below the folder, label maps with
VOC's palette at the size of the images, and ``results.tgz``, which https://host.robots.ox.ac.uk
scores. The images are those of ``ImageSets/Segmentation/test.txt`` in the data root of the config;
the server alone has their labels. A config that tests with a dense CRF submits what that infers.
"""

import argparse
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmcv.transforms import LoadAnnotations
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmseg.registry import DATASETS, TRANSFORMS
from PIL import Image

from mmseg_rmi import launch
from mmseg_rmi.utils.command_line import run_tool, user_path
from mmseg_rmi.utils.config_types import find_class

COMPETITIONS = {
    'comp5': 'trained on nothing but the images and labels of VOC 2012',
    'comp6': 'trained on other data as well, be it ImageNet alone',
}


def test_on_the_test_split(cfg: Config, folder: Path) -> None:
    """Let the runner write label maps of the images whose labels nobody has."""
    dataset = cfg.test_dataloader.dataset
    kind = find_class(dataset.get('type'), DATASETS)
    classes = len(getattr(kind, 'METAINFO', {}).get('classes', ()))
    if classes != 21:
        name = getattr(kind, '__name__', dataset.get('type'))
        raise ValueError(
            f'the test set has the 21 classes of VOC, but {name} has {classes}: name a config '
            'whose test_dataloader reads a PascalVOCDataset, without a wrapper'
        )
    dataset.ann_file = 'ImageSets/Segmentation/test.txt'
    dataset.data_prefix = dict(img_path='JPEGImages')
    dataset.pipeline = [step for step in dataset.pipeline if not loads_labels(step['type'])]
    # Not through the evaluators, which make it in the main process alone, perhaps too late.
    folder.mkdir(parents=True, exist_ok=True)
    cfg.test_evaluator = dict(type='mmseg.IoUMetric', format_only=True, output_dir=str(folder))
    launch.forget_training(cfg)


def loads_labels(kind: str | type) -> bool:
    """Tell whether a step of a pipeline loads label maps, by its class or the name of that."""
    found = find_class(kind, TRANSFORMS)
    return isinstance(found, type) and issubclass(found, LoadAnnotations)


def paint(label_map: Path, palette: Sequence[Sequence[int]]) -> None:
    """Give a label map a palette, so that it shows its classes in colour; its values stay."""
    image = Image.open(label_map)
    image.putpalette(np.asarray(palette, dtype=np.uint8).flatten().tolist())
    image.save(label_map)


def pack(folder: Path, names: Sequence[str], root: Path) -> Path:
    """Archive the label maps of all images, and nothing else, under their paths below a root."""
    missing = [name for name in names if not (folder / f'{name}.png').is_file()]
    if missing:
        raise FileNotFoundError(f'{len(missing)} label maps are missing, {missing[0]}.png first')
    archive = root / 'results.tgz'
    with tarfile.open(archive, 'w:gz') as file:
        for name in names:
            path = folder / f'{name}.png'
            file.add(path, arcname=str(path.relative_to(root)))
    return archive


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog='; '.join(f'{name}: {meaning}' for name, meaning in COMPETITIONS.items()),
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', type=user_path, default=Path('work_dirs/voc_submission'))
    parser.add_argument('--competition', choices=COMPETITIONS, default='comp6')
    launch.add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    out: Path = arguments.out
    folder = out / 'results' / 'VOC2012' / 'Segmentation' / f'{arguments.competition}_test_cls'
    cfg = launch.read_config(arguments)
    launch.require_settings(cfg, 'model', 'test_dataloader', 'test_cfg')
    cfg.load_from = arguments.checkpoint
    test_on_the_test_split(cfg, folder)
    runner = launch.build_runner(cfg)
    runner.test()
    if is_main_process():
        dataset = runner.test_dataloader.dataset
        names = [Path(dataset.get_data_info(i)['img_path']).stem for i in range(len(dataset))]
        for name in names:
            paint(folder / f'{name}.png', dataset.metainfo['palette'])
        archive = pack(folder, names, out)
        runner.logger.info(f'{len(names)} label maps for the server are in {archive}')


if __name__ == '__main__':
    run_tool(main)
