"""What two processes that share a test do; a spawned process must be able to import it by name."""

import json
import os
from datetime import timedelta

import torch
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from torch import distributed

import mmseg_rmi  # noqa: F401 (registers the metrics)
from helpers.label_maps import CLASSES, blobs, sample

IMAGES = 5  # does not divide by two: the sampler pads
METRICS = [
    dict(type='ClasswiseIoUMetric'),
    dict(type='BoundaryIoUMetric'),
    dict(type='BoundaryIoUMetric', dilation_ratio=0.1, prefix='coarse'),
    dict(type='TrimapIoUMetric', widths=(1, 3)),
    dict(type='RegionMutualInformationMetric', activation='softmax'),
]


def make_sample(number: int) -> dict:
    prediction, truth = blobs(number, height=20, width=24)
    logits = torch.nn.functional.one_hot(torch.tensor(prediction), 3).permute(2, 0, 1) * 1.5
    return sample(prediction, truth, seg_logits={'data': logits})


def evaluate_share() -> dict:
    """Evaluate what the sampler gives to this process, in batches of two; all if it is alone."""
    init_default_scope('mmseg')
    evaluator = Evaluator(METRICS)
    evaluator.dataset_meta = dict(classes=CLASSES)
    share = list(DefaultSampler(range(IMAGES), shuffle=False))
    for start in range(0, len(share), 2):
        evaluator.process([make_sample(number) for number in share[start : start + 2]])
    return evaluator.evaluate(IMAGES)


def run_share(rank, folder):
    """What one of the two processes does."""
    os.environ['GLOO_SOCKET_IFNAME'] = 'lo'
    os.chdir(folder)  # where mmengine puts what the processes exchange
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder}/store',
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    (folder / f'{rank}.json').write_text(json.dumps(evaluate_share(), default=float))
    distributed.destroy_process_group()
