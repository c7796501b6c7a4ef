"""Under torch.compile the loss is one graph, and gives the same value and gradient."""

from dataclasses import replace

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from helpers.batches import make_batch
from helpers.implementations import value_and_gradient
from mmseg_rmi.losses import RMILoss

SETTINGS = {
    'defaults': dict(),
    'exclude': dict(ignored='exclude', downsample_factor=2),
    'max': dict(downsample='max', region_size=2),
    'interp': dict(downsample='interp', region_size=2, nonnegative=False),
    'tiny-ridge': dict(covariance='mean', ridge=1e-10, region_size=2),
    'pixels-alone': dict(loss_lambda=1.0),
}


@pytest.fixture(autouse=True)
def no_graphs_of_earlier_tests():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def batch(**options):
    logits, labels = make_batch(images=1, height=19, width=21, **options)
    labels[labels == 2] = 0  # an absent class, which is skipped outside of a graph
    return logits, labels


@pytest.mark.parametrize('name', SETTINGS)
def test_loss_is_one_graph_with_the_same_result(name):
    logits, labels = batch()
    loss = RMILoss(**SETTINGS[name])
    expected = value_and_gradient(loss, logits, labels)
    graphs = CompileCounterWithBackend('eager')
    compiled = torch.compile(loss, backend=graphs, fullgraph=True)  # raises at a graph break
    for _ in range(2):
        measured = value_and_gradient(compiled, logits, labels)
        torch.testing.assert_close(measured, expected, rtol=1e-9, atol=1e-12)
    assert graphs.frame_count == 1


def test_weight_that_a_warm_up_changes_takes_no_graph_of_its_own():
    """The second value makes Dynamo trace the number as a symbol, which then serves all."""
    logits, labels = batch()
    loss = RMILoss()
    graphs = CompileCounterWithBackend('eager')
    compiled = torch.compile(loss, backend=graphs, fullgraph=True)
    for loss_lambda in (0.9, 0.8, 0.7, 0.6):
        loss.settings = replace(loss.settings, loss_lambda=loss_lambda)
        expected = value_and_gradient(loss, logits, labels)
        measured = value_and_gradient(compiled, logits, labels)
        torch.testing.assert_close(measured, expected, rtol=1e-9, atol=1e-12)
    assert graphs.frame_count == 2


def test_streamed_loss_is_one_graph_with_the_same_result():
    logits, labels = batch()
    logits = logits[..., ::2, ::2].contiguous()

    def stream(logits, labels):
        return RMILoss().stream(logits, labels, align_corners=False).total

    expected = value_and_gradient(stream, logits, labels)
    compiled = torch.compile(stream, backend='eager', fullgraph=True)
    measured = value_and_gradient(compiled, logits, labels)
    torch.testing.assert_close(measured, expected, rtol=1e-9, atol=1e-12)


def test_operations_of_autograd_in_one_graph_give_the_same_result():
    """``aot_eager`` traces the backward pass as well, and takes writes in place apart."""
    logits, labels = batch(classes=2)
    loss = RMILoss(region_size=2)
    expected = value_and_gradient(loss, logits, labels)
    compiled = torch.compile(loss, backend='aot_eager', fullgraph=True)
    measured = value_and_gradient(compiled, logits, labels)
    torch.testing.assert_close(measured, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('backend', ['eager', 'aot_eager'])
def test_unknown_label_fails_an_assertion_of_the_graph(backend):
    logits, labels = batch()
    loss = torch.compile(RMILoss(region_size=1), backend=backend, fullgraph=True)
    with torch.no_grad():
        assert loss(logits, labels).isfinite()
        labels[0, -1, -1] = 3
        with pytest.raises(RuntimeError, match='labels hold an unknown value: expected 0 to 2'):
            loss(logits, labels)
