"""Time workloads in turn, and find the extra peak of memory that each takes."""

import ctypes
import multiprocessing
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from tools.benchmark.cases import Case
from tools.benchmark.methods import Unavailable, Workload, build_workloads

Record = dict[str, Any]
SLOW = 2.0  # seconds; where a call takes longer, three are enough
HEAD_START = 6_000_000  # cycles, about 3 ms, for which a GPU waits before it is timed


def measure_together(
    case: Case, device: str, names: Iterable[str], rounds: int, time_limit: float = 120.0
) -> list[Record]:
    """Measure methods in turn in this process, and the memory of each; for a GPU.

    A method that fails yields a record of its ``error``, one that cannot run here of the reason why
    it was ``skipped``.

    Args:
        case: the shape.
        device: ``'cuda'`` or ``'cpu'``.
        names: of methods, cross entropy first.
        rounds: calls of each method.
        time_limit: seconds after which no further round is begun, once all are warm.
    """
    records: dict[str, Record] = {}
    ready: dict[str, Workload] = {}
    for name, build in build_workloads(case, device, names).items():
        records[name] = dict(case=asdict(case), title=case.title, method=name)
        try:
            ready[name] = workload = build()
            start = time.perf_counter()
            for _ in range(2):  # compiles, tunes and loads what the first calls do
                time_call(workload, device)
            records[name]['warm_up'] = time.perf_counter() - start
            records[name]['memory'] = peak_bytes(workload, device)
        except Unavailable as reason:
            records[name]['skipped'] = str(reason)
        except Exception:
            records[name]['error'] = traceback.format_exc()
            ready.pop(name, None)
    timed = time_in_turn(ready, device, rounds, time.monotonic() + time_limit)
    if device == 'cuda':
        torch.cuda.empty_cache()  # the next case starts with nothing
    return [{**record, **timed.get(name, {})} for name, record in records.items()]


def measure_apart(
    case: Case, names: Iterable[str], rounds: int, with_memory: bool
) -> Iterator[Record]:
    """Measure each method beside cross entropy in a process of its own; for a CPU.

    What one method leaves in memory changes the times of the next, and memory that stays with a
    process hides what the next needs.
    """
    others = [name for name in names if name != 'CE']
    for name in others:
        pair = in_own_process(time_pair, case, name, rounds)
        for method in ('CE', name) if name == others[0] else (name,):
            record = dict(case=asdict(case), title=case.title, method=method, **pair[method])
            record['time_to_ce'] = pair[method]['total'] / pair['CE']['total']
            if with_memory:
                record['memory'] = in_own_process(measure_memory, case, method)
            yield record


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process that ends after it; nothing is imported anew where it forks."""
    method = 'fork' if 'fork' in multiprocessing.get_all_start_methods() else 'spawn'
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def time_pair(case: Case, name: str, rounds: int) -> dict[str, dict[str, float]]:
    """Time a method and cross entropy in turn on the CPU."""
    workloads = {
        name: build() for name, build in build_workloads(case, 'cpu', ['CE', name]).items()
    }
    for workload in workloads.values():
        time_call(workload, 'cpu')
    return time_in_turn(workloads, 'cpu', rounds)


def time_in_turn(
    workloads: dict[str, Workload], device: str, rounds: int, deadline: float = float('inf')
) -> dict[str, dict[str, float]]:
    """Find the median seconds of ``forward``, ``backward`` and ``total`` of each workload.

    On a GPU these are the device's; ``host`` is how long the host took to launch the work. Where it
    is more than the total, the work waits for its launches.
    """
    spent: dict[str, list[dict[str, float]]] = {name: [] for name in workloads}
    for number in range(rounds):
        if number and time.monotonic() > deadline:
            break
        for name, workload in workloads.items():
            if len(spent[name]) < 3 or spent[name][-1]['total'] < SLOW:
                spent[name].append(time_call(workload, device))
    return {name: _medians(calls) for name, calls in spent.items() if calls}


def _medians(calls: list[dict[str, float]]) -> dict[str, float]:
    return {part: statistics.median(call[part] for call in calls) for part in calls[0]}


def time_call(workload: Workload, device: str) -> dict[str, float]:
    """Seconds of one forward and backward pass."""
    workload.clear()
    return _time_on_gpu(workload) if device == 'cuda' else _time_on_cpu(workload)


def _time_on_cpu(workload: Workload) -> dict[str, float]:
    start = time.perf_counter()
    loss = workload.forward()
    middle = time.perf_counter()
    loss.backward()
    end = time.perf_counter()
    return dict(forward=middle - start, backward=end - middle, total=end - start)


def _time_on_gpu(workload: Workload) -> dict[str, float]:
    start, middle, end = (torch.cuda.Event(enable_timing=True) for _ in range(3))
    torch.cuda.synchronize()
    torch.cuda._sleep(HEAD_START)  # the host gets ahead, as it is in training
    start.record()
    began = time.perf_counter()
    loss = workload.forward()
    middle.record()
    loss.backward()
    end.record()
    host = time.perf_counter() - began
    torch.cuda.synchronize()
    forward, backward = start.elapsed_time(middle) / 1e3, middle.elapsed_time(end) / 1e3
    return dict(forward=forward, backward=backward, total=forward + backward, host=host)


def measure_memory(case: Case, name: str) -> int:
    """Find the extra peak bytes of a method on the CPU; wants a process of its own."""
    for small in build_workloads(case.shrunk(), 'cpu', ['CE', name]).values():
        time_call(small(), 'cpu')  # loads what the first call loads
    return peak_bytes(build_workloads(case, 'cpu', [name])[name](), 'cpu')


def peak_bytes(workload: Workload, device: str) -> int:
    """Find how far one forward and backward pass raises the memory above the inputs."""
    workload.clear()
    if device == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        workload.forward().backward()
        return torch.cuda.max_memory_allocated() - before
    _return_freed_memory()
    Path('/proc/self/clear_refs').write_text('5')  # the peak starts anew
    before = _status('VmRSS')
    workload.forward().backward()
    return _status('VmHWM') - before


def _return_freed_memory() -> None:
    """Return what was freed to the system: taken again, it would not raise the peak."""
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)  # of glibc alone
    if trim is not None:
        trim(0)


def _status(field: str) -> int:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def copy_bandwidth(device: str, megabytes: int = 1024) -> float:
    """Find the bytes per second, read and written, of a copy within the device's memory."""
    source = torch.rand(megabytes * 2**18, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(12):
        if device == 'cuda':
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            target.copy_(source)
            end.record()
            torch.cuda.synchronize()
            seconds.append(start.elapsed_time(end) / 1e3)
        else:
            began = time.perf_counter()
            target.copy_(source)
            seconds.append(time.perf_counter() - began)
    return 2 * source.nbytes / statistics.median(seconds[2:])
