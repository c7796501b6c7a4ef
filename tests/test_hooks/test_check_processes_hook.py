"""Two processes that share no folder evaluate as one does, and train only if both do the same."""

import json
import re

import pytest
import torch

from helpers.tool_runs import free_port
from helpers.two_nodes import SCENARIOS, train_on_node


@pytest.fixture(scope='module')
def said(tmp_path_factory):
    folder = tmp_path_factory.mktemp('nodes')
    ports = [free_port() for _ in SCENARIOS]
    torch.multiprocessing.spawn(train_on_node, args=(folder, ports), nprocs=2)
    return [json.loads((folder / f'{rank}.json').read_text()) for rank in range(2)]


def test_results_are_gathered_without_a_common_folder(said):
    assert said[0]['nothing'] == '6'


@pytest.mark.parametrize(
    ('scenario', 'message'),
    [
        ('checkpoints', 'that a training starts after is 2 in process 0 .* 0 in process 1 .*work-'),
        ('data', 'the number of training images is 6 in process 0 .* and 8 in process 1 .*data'),
        ('shares of an epoch', 'batches in an epoch is 2 in process 0 .* and 1 .*round_up=True'),
        ('configs', 'the number of iterations is 2 in process 0 .* and 3 in process 1 .*config'),
    ],
)
def test_both_processes_say_by_what_they_differ(said, scenario, message):
    for each in said:
        assert re.search(f'^ValueError: .*{message}', each[scenario])
