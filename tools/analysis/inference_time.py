"""Seconds that a model takes per image, dense CRF included."""

from __future__ import annotations

import copy
import statistics
import tempfile
import time

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_rmi import launch
from mmseg_rmi.test_time import DenseCRFTestLoop
from mmseg_rmi.test_time.dense_crf_test_loop import Prediction, refine
from mmseg_rmi.test_time.probabilities import to_distribution

WARM_UP = 3


def seconds_per_image(config: Config, images: int) -> float:
    """Median time from an image in memory to its label map, one image at a time.

    The weights are random, for time does not depend on them. A dense CRF works in this process,
    after the network, so that the two times add up.

    Args:
        config: of a test; its data set gives the images.
        images: how many, after a few to warm up.
    """
    runner = _build_runner(config)
    loop, model = runner.test_loop, runner.model.eval()
    spent: list[float] = []
    for batch in loop.dataloader:
        if len(spent) == images + WARM_UP:
            break
        start = _now()
        with torch.no_grad():
            sample = model.test_step(batch)[0]
        if isinstance(loop, DenseCRFTestLoop):
            distribution = to_distribution(sample.seg_logits.data.float(), loop.activation)
            refine(loop.crf, Prediction(distribution.cpu().numpy(), sample.img_path, None))
        spent.append(_now() - start)
    if len(spent) <= WARM_UP:
        raise ValueError(f'to time {images} images takes a data set of more than {WARM_UP} images')
    return statistics.median(spent[WARM_UP:])


def _build_runner(config: Config) -> Runner:
    config = copy.deepcopy(config)
    launch.forget_training(config)
    config.test_dataloader.update(batch_size=1, num_workers=0, persistent_workers=False)
    config.load_from, config.launcher, config.log_level = None, 'none', 'ERROR'
    model = config.model.get('module', config.model)
    model['pretrained'] = None
    model.backbone['init_cfg'] = None
    config.work_dir = tempfile.mkdtemp()
    config.experiment_name = f'time-{time.time_ns()}'
    return launch.build_runner(config)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
