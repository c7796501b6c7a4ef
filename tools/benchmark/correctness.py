"""Check on a device that every implementation computes the loss, and how it does so.

The reference is the loss of the same logits in float64 on the CPU. Each check yields a record:
``check``, ``method``, ``passed`` and, where there is something to tell, a ``note``.
"""

import functools
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mmseg_rmi.functional import RMISettings, triton
from mmseg_rmi.functional.contract import Parameters
from mmseg_rmi.losses import RMILoss
from tools.benchmark.cases import Case, make_labels
from tools.benchmark.methods import RMI, Unavailable

Record = dict[str, Any]
Outcome = tuple[Tensor, Tensor]  # value and gradient
Check = Callable[[str, str], str]
SETTINGS: dict[str, dict[str, Any]] = {
    'defaults': {},
    'paper': dict(covariance='mean', ridge=1e-6),
    'max pooling': dict(downsample='max', downsample_factor=3),
    'ignored regions excluded': dict(ignored='exclude'),
    'unpooled': dict(downsample_factor=1, region_size=2),
    'regions of 5 x 5': dict(region_size=5),
    'interpolated': dict(downsample='interp'),
    'pixels alone': dict(loss_lambda=1.0),
}
# Of the value, and of the gradient relative to its largest entry; half precision rounds the latter.
TOLERANCES = {
    torch.float32: (1e-5, 1e-4),
    torch.bfloat16: (1e-5, 1e-2),
    torch.float16: (1e-5, 2e-3),
}
CHECKED = ('RMI', 'RMI, torch')
SHAPE = Case(batch=2, classes=5, side=67, present=3)
LARGE = Case(batch=2, classes=21, side=257, present=7)


def make_batch(case: Case, device: str) -> Outcome:
    """Draw logits that half know the labels; classes are absent, and a corner is ignored."""
    labels = make_labels(case, 'cpu')
    labels[:, : case.side // 4, : case.side // 3] = 255
    truth = (labels[:, None] == torch.arange(case.classes)[:, None, None]).float()
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    return (4 * (truth - 0.5) + 2 * noise).to(device), labels.to(device)


def value_and_gradient(loss: Callable[..., Tensor], logits: Tensor, labels: Tensor) -> Outcome:
    """Go forward and backward."""
    logits = logits.detach().requires_grad_()
    value = loss(logits, labels)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient


def reference(settings: dict[str, Any], logits: Tensor, labels: Tensor) -> Outcome:
    """Compute in float64 on the CPU, of the logits as they are rounded."""
    loss = RMILoss(**settings, impl='reference')
    return value_and_gradient(loss, logits.double().cpu(), labels.cpu())


def compare(found: Outcome, expected: Outcome, dtype: torch.dtype) -> str:
    """Describe the errors.

    Raises:
        AssertionError: they are beyond the tolerance of the type.
    """
    errors = [
        float((f.double().cpu() - e.double().cpu()).abs().max() / e.double().abs().max().cpu())
        for f, e in zip(found, expected, strict=True)
    ]
    note = f'value {errors[0]:.1e}, gradient {errors[1]:.1e}'
    tolerances = TOLERANCES[dtype]
    # Written so that NaN fails.
    if not all(error <= limit for error, limit in zip(errors, tolerances, strict=True)):
        raise AssertionError(f'errors {note}; allowed are {tolerances}')
    return note


def takes_kernels(method: str, device: str) -> str:
    """Tell whether RMI takes its kernels by default, as it should on a GPU.

    Raises:
        AssertionError: they refuse the simplest of logits; says why.
    """
    _need_gpu(device)
    reason = triton.unsupported_reason(
        torch.zeros(1, 2, 8, 8, device=device), Parameters(RMISettings())
    )
    if reason is not None:
        raise AssertionError(reason)
    return ''


def equals_reference(
    method: str,
    device: str,
    *,
    settings: str = 'defaults',
    dtype: torch.dtype = torch.float32,
    case: Case = SHAPE,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> str:
    """Compare value and gradient with the reference's."""
    logits, labels = make_batch(case, device)
    logits = logits.to(dtype, memory_format=memory_format)
    loss = RMILoss(**SETTINGS[settings], **RMI[method])
    found = value_and_gradient(loss, logits, labels)
    return compare(found, reference(SETTINGS[settings], logits, labels), dtype)


def binary_equals_reference(method: str, device: str) -> str:
    """Compare on logits of one channel."""
    logits, labels = make_batch(SHAPE, device)
    logits, labels = logits[:, 1:2], torch.where(labels < 2, labels, 255)
    found = value_and_gradient(RMILoss(**RMI[method]), logits, labels)
    return compare(found, reference({}, logits, labels), torch.float32)


def streamed_equals_reference(method: str, device: str, *, align_corners: bool) -> str:
    """Compare the loss of logits of low resolution with that of the upsampled ones."""
    low, labels = make_batch(SHAPE, device)
    low = low[..., ::4, ::4].contiguous()
    loss = RMILoss(**RMI[method])

    def stream(logits: Tensor, labels: Tensor) -> Tensor:
        return loss.stream(logits, labels, align_corners=align_corners).total

    def up_sample(logits: Tensor, labels: Tensor) -> Tensor:
        size = labels.shape[1:]
        full = F.interpolate(logits, size, mode='bilinear', align_corners=align_corners)
        return RMILoss(impl='reference')(full, labels)

    found = value_and_gradient(stream, low, labels)
    expected = value_and_gradient(up_sample, low.double().cpu(), labels.cpu())
    return compare(found, expected, torch.float32)


def repeats_itself(method: str, device: str) -> str:
    """Compare five runs bit by bit."""
    logits, labels = make_batch(LARGE, device)
    loss = RMILoss(**RMI[method])
    first, *others = [value_and_gradient(loss, logits, labels) for _ in range(5)]
    differing = sum(not all(map(torch.equal, first, other)) for other in others)
    if differing:
        raise AssertionError(f'{differing} of {len(others)} runs differ from the first')
    return ''


def never_waits(method: str, device: str) -> str:
    """Go forward and backward, plainly and streamed, where waiting for the device is an error."""
    _need_gpu(device)
    logits, labels = make_batch(SHAPE, device)
    loss = RMILoss(**RMI[method])

    def stream(logits: Tensor, labels: Tensor) -> Tensor:
        return loss.stream(logits, labels, align_corners=False).total

    for call in (loss, stream):
        value_and_gradient(call, logits, labels)  # what waits once, at first, is no matter
    torch.cuda.set_sync_debug_mode('error')
    try:
        for call in (loss, stream):
            value_and_gradient(call, logits, labels)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    return ''


def replays_in_a_graph(method: str, device: str) -> str:
    """Capture forward and backward in a CUDA graph, and replay it on other logits."""
    _need_gpu(device)
    logits, labels = make_batch(SHAPE, device)
    loss = RMILoss(**RMI[method])
    expected = value_and_gradient(loss, logits.flip(0), labels)
    static = logits.clone()
    side_stream = torch.cuda.Stream()
    side_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side_stream):
        for _ in range(3):
            value_and_gradient(loss, static, labels)
    torch.cuda.current_stream().wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = value_and_gradient(loss, static, labels)
    static.copy_(logits.flip(0))
    graph.replay()
    torch.cuda.synchronize()
    return compare(captured, expected, torch.float32)


def compiles_to_one_graph(method: str, device: str) -> str:
    """Compare under ``torch.compile(fullgraph=True)``: inductor on a GPU, else without a backend.

    Inductor is for what users get; to compile the other methods with it takes minutes.
    """
    logits, labels = make_batch(SHAPE, device)
    loss = RMILoss(**RMI[method])
    expected = value_and_gradient(loss, logits, labels)
    backend = 'inductor' if device == 'cuda' and method == 'RMI' else 'eager'
    if backend == 'inductor' and (reason := triton.missing_compiler()):
        raise Unavailable(reason)
    torch._dynamo.reset()
    compiled = torch.compile(loss, backend=backend, fullgraph=True)
    found = value_and_gradient(compiled, logits, labels)
    return compare(found, expected, torch.float32)


def _need_gpu(device: str) -> None:
    if device != 'cuda':
        raise Unavailable('needs a GPU')


# Most telling first; what a failure may leave the device unusable after comes last.
VALUES: dict[str, Check] = {
    'kernels': takes_kernels,
    'defaults': equals_reference,
    'bfloat16': functools.partial(equals_reference, dtype=torch.bfloat16),
    'streamed': functools.partial(streamed_equals_reference, align_corners=False),
    'larger': functools.partial(equals_reference, case=LARGE),
    'deterministic': repeats_itself,
    'no waiting for the device': never_waits,
    'float16': functools.partial(equals_reference, dtype=torch.float16),
    'channels last': functools.partial(equals_reference, memory_format=torch.channels_last),
    'streamed, align_corners': functools.partial(streamed_equals_reference, align_corners=True),
    'one channel': binary_equals_reference,
    **{
        name: functools.partial(equals_reference, settings=name)
        for name in SETTINGS
        if name != 'defaults'
    },
}
GRAPHS: dict[str, Check] = {
    'torch.compile': compiles_to_one_graph,
    'CUDA graph': replays_in_a_graph,
}


def run_checks(
    checks: dict[str, Check], device: str, *, out_of_time: Callable[[], bool] = lambda: False
) -> Iterator[Record]:
    """Run checks on every implementation."""
    for name, check in checks.items():
        for method in CHECKED:
            record: Record = dict(check=name, method=method)
            if out_of_time():
                yield dict(record, skipped='out of time')
                continue
            try:
                yield dict(record, passed=True, note=check(method, device))
            except Unavailable as reason:
                yield dict(record, skipped=str(reason))
            except Exception as error:
                note = f'{type(error).__name__}: {error}'
                yield dict(record, passed=False, note=note, error=traceback.format_exc())
