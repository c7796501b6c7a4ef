"""What each process of a torchrun job does: ``torchrun ... torchrun_training.py FOLDER``.

A process trains a small network on its share of a batch; the first saves the weights.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from helpers.batches import make_batch
from mmseg_rmi.losses import RMILoss

CLASSES, STEPS = 3, 3
EVEN, UNEVEN = (2, 2, 2, 2), (3, 1, 2, 2)  # images of each of four processes


def plain(logits: Tensor, labels: Tensor) -> Tensor:
    return RMILoss()(logits, labels)


def streamed(logits: Tensor, labels: Tensor) -> Tensor:
    return RMILoss().stream(F.avg_pool2d(logits, 2), labels, align_corners=True).total


def beside(logits: Tensor, labels: Tensor) -> Tensor:
    pixels = F.cross_entropy(logits, labels, ignore_index=255)
    return pixels + RMILoss(loss_lambda=0, loss_weight=0.5)(logits, labels)


# loss, images of each process, whether the last one has labels, parts that are accumulated
SCENARIOS = {
    'plain': (plain, EVEN, True, 1),
    'streamed': (streamed, EVEN, True, 1),
    'cross entropy beside': (beside, EVEN, True, 1),
    'accumulated': (plain, EVEN, True, 2),
    'uneven shares': (plain, UNEVEN, True, 1),
    'a process without a valid pixel': (plain, UNEVEN, False, 1),
    'streamed, a process without a valid pixel': (streamed, UNEVEN, False, 1),
}


class Network(nn.Module):
    """A convolution, and a layer that nothing depends on."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.used = nn.Conv2d(CLASSES, CLASSES, 3, padding=1, dtype=torch.float64)
        self.unused = nn.Linear(1, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.used(features)


def batch_of(scenario: str) -> tuple[Tensor, Tensor]:
    """All images, of which as many pixels are valid everywhere, unless the last share has none."""
    _, shares, labelled, _ = SCENARIOS[scenario]
    features, labels = make_batch(images=8, classes=CLASSES, seed=5, void=False)
    labels[:, :4] = 255
    if not labelled:
        labels[-shares[-1] :] = 255
    return features, labels


def parts_of(scenario: str, ranks: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """What these processes see together: a batch, or the parts of it that are accumulated."""
    _, shares, _, parts = SCENARIOS[scenario]
    features, labels = batch_of(scenario)
    owned = torch.arange(8).split(list(shares))
    for part in range(parts):
        images = torch.cat([owned[rank].tensor_split(parts)[part] for rank in ranks])
        yield features[images], labels[images]


def train(model: nn.Module, scenario: str, ranks: list[int]) -> None:
    """Take three steps with what these processes see."""
    loss, _, _, parts = SCENARIOS[scenario]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(STEPS):
        optimizer.zero_grad()
        for number, (features, labels) in enumerate(parts_of(scenario, ranks)):
            last = number == parts - 1
            wait = nullcontext() if last else getattr(model, 'no_sync', nullcontext)()
            with wait:
                (loss(model(features), labels) / parts).backward()
        optimizer.step()


def replicate(network: nn.Module) -> nn.Module:
    return DistributedDataParallel(network, find_unused_parameters=True)


def shard(network: nn.Module) -> nn.Module:
    """Keep a part of each parameter in each process, as FSDP does."""
    mesh = init_device_mesh('cpu', (distributed.get_world_size(),))
    fully_shard(network.used, mesh=mesh)
    return network


def whole(weight: Tensor) -> Tensor:
    return weight.full_tensor() if isinstance(weight, DTensor) else weight


WAYS = (replicate, shard)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group('gloo', timeout=timedelta(seconds=60))
    rank = distributed.get_rank()
    weights = {}
    for distribute, scenario in product(WAYS, SCENARIOS):
        network = Network()
        train(distribute(network), scenario, [rank])
        found = network.used.state_dict()
        weights[distribute.__name__, scenario] = {name: whole(found[name]) for name in found}
    if rank == 0:
        torch.save(weights, folder / 'weights.pth')
    distributed.barrier()


if __name__ == '__main__':
    main(Path(sys.argv[1]))
    # FSDP keeps the group for good, and its threads may abort a Python that ends
    # (https://github.com/pytorch/pytorch/pull/179291).
    os._exit(0)
