"""What two processes that share a batch do; a spawned process must be able to import it by name."""

import os
from contextlib import nullcontext
from datetime import timedelta

import torch
from torch import distributed
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from helpers.batches import make_batch
from mmseg_rmi.losses import AffinityFieldLoss, RMILoss, SigmoidCrossEntropyLoss

IMAGES, CLASSES = 8, 3


def streamed(logits, labels):
    """The loss of logits of half the size, as the streamed heads compute it."""
    return RMILoss().stream(F.avg_pool2d(logits, 2), labels, align_corners=True).total


LOSSES = {
    'rmi': RMILoss(),
    'exclude': RMILoss(ignored='exclude', downsample_factor=2, region_size=2, nonnegative=False),
    'regions-alone': RMILoss(loss_lambda=0),
    'pixels-alone': RMILoss(loss_lambda=1),
    'streamed': streamed,
    'affinity': AffinityFieldLoss(),
    'affinity-adaptive': AffinityFieldLoss(sizes=(1, 2), downsample_factor=4, adaptive=True),
    'bce': SigmoidCrossEntropyLoss(class_weight=[0.5, 1.0, 2.0]),
}


def whole_batch(scenario):
    """Features and labels of 8 images, and how many of them the first process takes."""
    features, labels = make_batch(images=IMAGES, classes=CLASSES, seed=11)
    first = 4
    if scenario == 'uneven':
        labels[:3, 5:] = 255
    elif scenario == 'first process has no valid pixel':
        labels[:4] = 255
    elif scenario == 'no valid pixel at all':
        labels[:] = 255
    elif scenario == 'shares of 3 and 5 images':
        first = 3
    return features, labels, first


SCENARIOS = (
    'even',
    'uneven',
    'first process has no valid pixel',
    'no valid pixel at all',
    'shares of 3 and 5 images',
)


def classifier():
    torch.manual_seed(0)
    return torch.nn.Conv2d(CLASSES, CLASSES, 3, padding=1, dtype=torch.float64)


def loss_and_gradients(model, loss, features, labels):
    value = loss(model(features), labels)
    value.backward()
    return value.detach(), [parameter.grad.clone() for parameter in model.parameters()]


def losses_alone(no_gradients):
    """Each loss of the first process's share, of features that need no gradient."""
    features, labels, first = whole_batch('uneven')
    with no_gradients():
        return {name: loss(features[:first], labels[:first]) for name, loss in LOSSES.items()}


ALONE = {
    'validation': torch.no_grad,
    'inference': torch.inference_mode,
    'log of detached logits': nullcontext,
}


def train_share(rank, folder):
    """What one of the two processes does."""
    os.environ['GLOO_SOCKET_IFNAME'] = 'lo'
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder}/store',
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    results = {}
    for scenario in SCENARIOS:
        features, labels, first = whole_batch(scenario)
        share = slice(0, first) if rank == 0 else slice(first, None)
        for name, loss in LOSSES.items():
            model = DistributedDataParallel(classifier())
            results[scenario, name] = loss_and_gradients(
                model, loss, features[share], labels[share]
            )
    if rank == 0:  # the other one computes none, and must not be waited for
        results |= {name: losses_alone(context) for name, context in ALONE.items()}
    torch.save(results, folder / f'{rank}.pt')
    distributed.destroy_process_group()
