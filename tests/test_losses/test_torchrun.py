"""Two nodes of two processes, as torchrun starts them, train as one process does."""

import sys

import pytest
import torch

from helpers import torchrun_training
from helpers.tool_runs import ROOT, finish, free_port, start
from helpers.torchrun_training import SCENARIOS, WAYS, Network, train


def torchrun(folder, node, port):
    options = f'--nnodes=2 --node_rank={node} --nproc_per_node=2 --master_addr=127.0.0.1'
    return start(
        *(sys.executable, '-m', 'torch.distributed.run', *options.split()),
        *(f'--master_port={port}', torchrun_training.__file__, folder),
        PYTHONPATH=f'{ROOT}:{ROOT / "tests"}',
        GLOO_SOCKET_IFNAME='lo',
    )


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp('torchrun'), free_port()
    for node in [torchrun(folder, node, port) for node in range(2)]:
        finish(node)
    return torch.load(folder / 'weights.pth')


@pytest.mark.parametrize('way', [way.__name__ for way in WAYS])
@pytest.mark.parametrize('scenario', SCENARIOS)
def test_four_processes_end_with_the_weights_of_one(weights, scenario, way):
    alone = Network()
    start = alone.used.weight.detach().clone()
    train(alone, scenario, list(range(4)))
    assert (alone.used.weight - start).abs().max() > 1e-3
    for name, value in alone.used.state_dict().items():
        torch.testing.assert_close(weights[way, scenario][name], value, rtol=1e-5, atol=1e-7)
