"""Two processes that share a batch train as one process that holds it."""

import pytest
import torch

from helpers.tolerances import assert_close
from helpers.two_processes import (
    ALONE,
    LOSSES,
    SCENARIOS,
    classifier,
    loss_and_gradients,
    losses_alone,
    train_share,
    whole_batch,
)


@pytest.fixture(scope='module')
def results_of_two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('distributed')
    torch.multiprocessing.spawn(train_share, args=(folder,), nprocs=2)
    return [torch.load(folder / f'{rank}.pt') for rank in range(2)]


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize('scenario', SCENARIOS)
def test_two_processes_compute_what_one_does(results_of_two_processes, scenario, name):
    features, labels, _ = whole_batch(scenario)
    expected, expected_gradients = loss_and_gradients(classifier(), LOSSES[name], features, labels)
    first, second = (results[scenario, name] for results in results_of_two_processes)
    assert_close((first[0] + second[0]) / 2, expected)
    for gradients in (first[1], second[1]):
        for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
            assert_close(gradient, expected_gradient)
    trained = expected_gradients[0].abs().sum() > 0
    assert trained == (scenario != 'no valid pixel at all')


@pytest.mark.parametrize('why', ALONE)
def test_one_process_alone_computes_a_loss_without_gradients(results_of_two_processes, why):
    expected = losses_alone(ALONE[why])
    for name, value in results_of_two_processes[0][why].items():
        assert_close(value.detach(), expected[name].detach())
