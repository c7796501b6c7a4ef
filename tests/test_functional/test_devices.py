"""The way that a GPU takes, on tensors that have a device but no values.

Fake tensors say that they are CUDA's; a CPU build of torch cannot have these, so meta tensors,
which are not CPU's either, stand in. Both raise when the host asks for a value.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helpers.batches import make_batch
from helpers.implementations import reference_loss, streamed_loss, torch_loss, value_and_gradient
from mmseg_rmi.functional import RMISettings
from mmseg_rmi.functional.blocked import chunk

SETTINGS = {
    'defaults': dict(),
    'exclude': dict(ignored='exclude'),
    'max': dict(downsample='max'),
    'interp': dict(downsample='interp'),
    'unpooled': dict(downsample_factor=1, region_size=2),
    'released': dict(nonnegative=False),
    'paper': dict(covariance='mean', ridge=1e-6),
    'tiny-ridge': dict(ridge=1e-12),
    'regions-alone': dict(loss_lambda=0.0),
    'pixels-alone': dict(loss_lambda=1.0),
    'relative': dict(covariance='relative', ridge=1e-3),
    'softmax': dict(pixel_term='ce', activation='softmax'),
}
every_setting = pytest.mark.parametrize('settings', SETTINGS.values(), ids=SETTINGS)
PRECISIONS = [  # of logits and of regions
    (torch.float16, torch.float64),
    (torch.bfloat16, torch.float32),
    (torch.float32, torch.float32),
    (torch.float64, torch.float64),
]
CASES = [
    *[pytest.param(each, *PRECISIONS[0], id=name) for name, each in SETTINGS.items()],
    *[pytest.param({}, *each, id='-'.join(map(str, each))) for each in PRECISIONS[1:]],
]
every_case = pytest.mark.parametrize(('settings', 'dtype', 'region_dtype'), CASES)


class HostTransfers(TorchFunctionMode):
    """Notes calls that bring values of the host to a device, for which the host waits.

    A scalar of the host is an argument of the kernel, and no transfer; a list of places is one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given, made = (
            [each for each in tree_leaves(values) if isinstance(each, torch.Tensor)]
            for values in ((args, kwargs), result)
        )
        from_host = any(tensor.device.type == 'cpu' and tensor.dim() > 0 for tensor in given)
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            from_host |= any(isinstance(each, list) for each in index)
        if func in (torch.tensor, torch.as_tensor):
            from_host |= not isinstance(args[0], int | float)
        if from_host and any(tensor.device.type != 'cpu' for tensor in (*given, *made)):
            self.calls.append(func.__name__)
        return result


@pytest.fixture(params=['cuda', 'meta'])
def device(request):
    """A device whose tensors have no values."""
    if request.param == 'meta':
        yield request.param
        return
    if torch.version.cuda is None:
        pytest.skip('a CPU build of torch knows no CUDA tensors')
    with FakeTensorMode():
        yield request.param


def backward(loss):
    """Gradient by the logits; autograd's engine would need a real GPU for CUDA tensors."""
    with torch.no_grad():
        return loss.grad_fn.apply(torch.ones_like(loss))[0]


@every_case
def test_one_pass_stays_on_the_device(device, settings, dtype, region_dtype):
    logits = torch.zeros(1, 3, 33, 37, device=device, dtype=dtype, requires_grad=True)
    labels = torch.zeros(1, 33, 37, device=device, dtype=torch.long)
    weight = torch.ones(1, 33, 37, device=device)
    with HostTransfers() as transfers:
        loss = torch_loss(
            logits,
            labels,
            RMISettings(**settings),
            pixel_weight=weight,
            region_dtype=region_dtype,
        )
        gradients = [backward(loss) for _ in range(2)]
    assert loss.device.type == device
    for gradient in gradients:
        assert gradient.device.type == device
        assert gradient.dtype == dtype
    assert transfers.calls == []


@every_case
def test_stream_stays_on_the_device(device, settings, dtype, region_dtype):
    logits = torch.zeros(1, 3, 9, 10, device=device, dtype=dtype, requires_grad=True)
    labels = torch.zeros(1, 33, 37, device=device, dtype=torch.long)
    with HostTransfers() as transfers:
        terms = streamed_loss(logits, labels, RMISettings(**settings), region_dtype=region_dtype)
        gradient = backward(terms.total)
    assert all(term.device.type == device for term in terms)
    assert gradient.device.type == device
    assert gradient.dtype == dtype
    assert transfers.calls == []


class Operations(TorchDispatchMode):
    """Notes the names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


# What CUDA adds up in any order (torch.use_deterministic_algorithms). Neither scatter_add is among
# them, which here counts ones, of which any sum is exact, or adds a single value to each place, nor
# index_put, which here writes to different places.
UNORDERED = {
    'adaptive_avg_pool2d_backward',
    'avg_pool2d_backward',
    'bincount',
    'cumsum',
    'embedding_dense_backward',
    'grid_sampler_2d_backward',
    'histc',
    'index_add',
    'max_pool2d_with_indices_backward',
    'put',
    'upsample_bilinear2d_backward',
    'upsample_nearest2d_backward',
}


@every_setting
def test_nothing_is_added_up_in_any_order(device, settings):
    logits = torch.zeros(1, 3, 9, 10, device=device, requires_grad=True)
    labels = torch.zeros(1, 33, 37, device=device, dtype=torch.long)
    full = torch.zeros(1, 3, 33, 37, device=device, requires_grad=True)
    with Operations() as operations:
        backward(streamed_loss(logits, labels, RMISettings(**settings)).total)
        backward(torch_loss(full, labels, RMISettings(**settings)))
    assert len(operations.names) > 10
    assert [name for name in operations.names if name.rstrip('_') in UNORDERED] == []


@every_setting
def test_visiting_absent_classes_as_well_changes_nothing(monkeypatch, settings):
    """The one switch by which the way of a GPU differs."""
    monkeypatch.setattr(chunk, 'host_can_read', lambda tensor: False)
    logits, labels = make_batch(classes=5)
    labels[labels == 1] = 0
    labels[0][labels[0] == 4] = 3
    settings = RMISettings(**settings)
    expected = value_and_gradient(reference_loss, logits, labels, settings=settings)
    measured = value_and_gradient(torch_loss, logits, labels, settings=settings)
    torch.testing.assert_close(measured, expected, rtol=1e-6, atol=1e-9)


def test_a_look_at_a_value_would_have_been_noticed(device):
    expected = RuntimeError if device == 'meta' else DataDependentOutputException
    with pytest.raises(expected):
        torch.zeros(3, device=device).sum().item()


def test_a_transfer_would_have_been_noticed(device):
    with HostTransfers() as transfers:
        values = torch.zeros(3, device=device)
        values[[0, 2]]
        values[torch.arange(2)] = 1
        torch.arange(3).to(device)
        torch.tensor([1, 2], device=device)
        torch.tensor(1, device=device), values[1], values[1:], values * 2
    assert len(transfers.calls) == 4
