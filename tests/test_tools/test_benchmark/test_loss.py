"""What losses cost: the parts of the benchmark, on shapes that take no time."""

import itertools
import json
import sys
from dataclasses import replace

import pytest
import torch

from tools.benchmark import loss as tool
from tools.benchmark import measure, report
from tools.benchmark.cases import CPU_CASES, Case, make_labels, sweep
from tools.benchmark.methods import (
    RELEASED,
    STREAMED,
    Unavailable,
    Workload,
    build_workloads,
    method_names,
)

LOGITS = Case(batch=2, classes=3, side=33, present=3)
HEAD = replace(LOGITS, stage='head', low_side=9)
STEP = replace(LOGITS, stage='step', side=64)


@pytest.mark.parametrize('case', [LOGITS, HEAD, STEP], ids=lambda case: case.stage)
def test_every_method_of_a_case_leaves_gradients(case):
    names = [name for name in method_names(case) if 'compiled' not in name]
    assert names[0] == 'CE'
    for build in build_workloads(case, 'cpu', names).values():
        workload = build()
        workload.clear()
        workload.forward().backward()
        assert all(leaf.grad.isfinite().all() for leaf in workload.leaves)


def test_half_precision_runs_under_autocast():
    case = replace(LOGITS, dtype='bfloat16')
    for build in build_workloads(case, 'cpu', ['CE', 'RMI']).values():
        workload = build()
        workload.forward().backward()
        assert workload.leaves[0].grad.dtype == torch.bfloat16


def test_released_formulas_have_the_gradient_of_rmi():
    gradients = []
    for build in build_workloads(LOGITS, 'cpu', ['RMI', RELEASED]).values():
        workload = build()
        workload.clear()
        workload.forward().backward()
        gradients.append(workload.leaves[0].grad)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)


def test_labels_hold_the_classes_that_a_case_says():
    labels = make_labels(Case(batch=2, side=65, present=3), 'cpu')
    assert [sorted(label.unique().tolist()) for label in labels] == [[0, 1, 2]] * 2


def test_a_sweep_varies_one_field():
    cases = sweep(LOGITS, 'side', 17, 33)
    assert [case.side for case in cases] == [17, 33]
    assert {replace(case, side=1) for case in cases} == {replace(LOGITS, side=1, sweep='side')}


def test_a_sweep_of_classes_keeps_all_present():
    assert [case.present for case in sweep(LOGITS, 'classes', 2, 5)] == [2, 5]


def test_medians_leave_out_what_is_slower_once(monkeypatch):
    seconds = iter([1.0, 9.0, 1.2])
    monkeypatch.setattr(measure, 'time_call', lambda *_: dict(total=next(seconds)))
    assert measure.time_in_turn({'CE': None}, 'cpu', 3) == {'CE': dict(total=1.2)}


def test_methods_take_turns(monkeypatch):
    calls = []
    monkeypatch.setattr(
        measure, 'time_call', lambda workload, _: calls.append(workload) or dict(total=0.1)
    )
    measure.time_in_turn({'CE': 'a', 'RMI': 'b'}, 'cpu', 2)
    assert calls == ['a', 'b', 'a', 'b']


def peak_of_exponential(size: int) -> int:
    """Extra peak of an addition and an exponential of ``size`` bytes each."""
    torch.set_num_threads(1)  # those of the parent are not here
    leaf = torch.zeros(1, requires_grad=True)
    return measure.peak_bytes(
        Workload(lambda: (leaf + torch.ones(size // 4)).exp().sum(), [leaf]), 'cpu'
    )


def peak_beside_freed_memory(size: int) -> int:
    """That peak where as much was taken and freed before, below something that is still held."""
    held = [b'x' * 100_000 for _ in range(4 * size // 100_000)]
    del held[: -size // 100_000]
    return peak_of_exponential(size)


@pytest.mark.parametrize('measured', [peak_of_exponential, peak_beside_freed_memory])
def test_peak_is_what_one_call_adds(measured):
    size = 64 * 2**20
    peak = measure.in_own_process(measured, size)
    assert 1.9 * size < peak < 4.5 * size


@pytest.fixture
def pretended_gpu(monkeypatch):
    """A clock that each event reads once, and a memory that calls fill."""

    class Event:
        ticks = 0

        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            Event.ticks += 1
            self.time = Event.ticks**2

        def elapsed_time(self, other):
            return other.time - self.time

    calls = []
    monkeypatch.setattr(torch.cuda, 'Event', Event)
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda: calls.append('synchronize'))
    monkeypatch.setattr(torch.cuda, '_sleep', lambda cycles: calls.append('sleep'))
    monkeypatch.setattr(torch.cuda, 'reset_peak_memory_stats', lambda: calls.append('reset'))
    monkeypatch.setattr(torch.cuda, 'memory_allocated', lambda: 100)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda: 350)
    return calls


def test_events_time_a_call_on_a_gpu(pretended_gpu):
    leaf = torch.zeros(3, requires_grad=True)
    spent = measure.time_call(Workload(lambda: leaf.sum(), [leaf]), 'cuda')
    assert spent.pop('host') > 0
    assert spent == pytest.approx(dict(forward=3e-3, backward=5e-3, total=8e-3))
    assert pretended_gpu == ['synchronize', 'sleep', 'synchronize']


def test_a_gpu_is_asked_for_its_peak(pretended_gpu):
    leaf = torch.zeros(3, requires_grad=True)
    leaf.grad = torch.ones(3)
    assert measure.peak_bytes(Workload(lambda: leaf.sum(), [leaf]), 'cuda') == 250
    assert pretended_gpu == ['synchronize', 'reset']


def test_bandwidth_counts_what_is_read_and_written(monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr(measure.time, 'perf_counter', lambda: float(next(seconds)))
    assert measure.copy_bandwidth('cpu', megabytes=1) == 2 * 2**20  # a copy in a second


def test_a_method_that_fails_does_not_take_the_others_with_it(monkeypatch):
    def fail():
        raise RuntimeError('out of memory')

    def lack():
        raise Unavailable('no compiler')

    good = build_workloads(LOGITS, 'cpu', ['CE'])['CE']
    monkeypatch.setattr(
        measure, 'build_workloads', lambda *_: {'CE': good, 'bad': fail, 'none': lack}
    )
    ce, bad, none = measure.measure_together(LOGITS, 'cpu', ['CE', 'bad', 'none'], rounds=1)
    assert ce['total'] > 0
    assert 'out of memory' in bad['error']
    assert none['skipped'] == 'no compiler'


def make_records() -> list[dict]:
    case = dict(vars(Case(batch=1, classes=2, side=10, present=2)))
    both = dict(case=case, title='small')
    return [
        dict(both, method='CE', forward=1e-3, backward=1e-3, total=2e-3, memory=8_000_000),
        dict(both, method='RMI', forward=4e-4, backward=6e-4, total=1e-3, memory=4_000_000),
    ]


def test_ratios_are_to_cross_entropy_to_the_logits_and_to_the_copy():
    records = make_records()
    report.add_ratios(records, bandwidth=2.4e6)
    rmi = records[1]
    assert rmi['time_to_ce'] == 0.5
    assert rmi['memory_to_ce'] == 0.5
    assert rmi['memory_to_logits'] == 5000  # 200 logits of 4 bytes
    assert rmi['ns_per_logit'] == pytest.approx(5000)
    assert rmi['least'] == pytest.approx(1e-3)  # three passes over 800 bytes


def test_half_precision_halves_the_least_time():
    records = make_records()
    for record in records:
        record['case']['dtype'] = 'bfloat16'
    report.add_ratios(records, bandwidth=2.4e6)
    assert records[1]['least'] == pytest.approx(5e-4)
    assert records[1]['ns_per_logit'] == pytest.approx(5000)


def test_a_method_that_waits_for_its_launches_is_told_of():
    record = make_records()[0]
    assert 'launches' not in report.one_line(dict(record, host=1e-3, memory_to_logits=1.0))
    said = report.one_line(dict(record, host=5e-3, memory_to_logits=1.0))
    assert said == 'CE: 2 ms, 8 MB, 1.00 x logits, waits for its launches: 5 ms on the host'


def test_tables_in_markdown_show_the_figures():
    records = make_records()
    report.add_ratios(records)
    assert report.markdown_summary(records).splitlines()[-1] == (
        '| small | 2 | 1 | **0.50** | 8 | 4 | **0.50** |'
    )
    assert report.markdown_cases(records).splitlines()[-1] == (
        '| RMI | 0.4 | 0.6 | 1 | 0.50 | 4 | 0.50 | 5000.00 |'
    )


def test_the_tool_leaves_tables_figure_and_json(tmp_path, monkeypatch, capsys):
    cases = dict(
        losses=[LOGITS],
        heads=[HEAD],
        step=[STEP],
        sweeps=sweep(replace(LOGITS, batch=1), 'classes', 2, 3),
    )
    monkeypatch.setattr(tool, 'CPU_CASES', cases)
    monkeypatch.setattr(tool, 'ON_CPU', ('CE', 'RMI'))
    monkeypatch.setattr(measure, 'in_own_process', lambda function, *given: function(*given))
    options = ['--out', str(tmp_path), '--rounds', '1', '--sections', *cases]
    monkeypatch.setattr(sys, 'argv', ['loss', *options])
    tool.main()
    found = json.loads((tmp_path / 'benchmark.json').read_text())
    methods = [(r['title'], r['method']) for r in found['records']]
    assert methods.count((LOGITS.title, 'RMI')) == 1
    assert (HEAD.title, STREAMED) in methods
    assert (tmp_path / 'cost.png').exists()
    assert LOGITS.title.split(',')[0] in (tmp_path / 'benchmark.txt').read_text()

    capsys.readouterr()
    tool.print_markdown(tmp_path / 'benchmark.json')
    summary = capsys.readouterr().out.split('\n\n')[1]
    assert summary.count('\n') == 1 + 3  # the head of the table, and a row for each stage


def test_published_cases_are_distinct():
    titles = [case.title for name in ('losses', 'heads', 'step') for case in CPU_CASES[name]]
    assert len(set(titles)) == len(titles)


def test_profile_names_operations():
    assert 'aten::' in tool.profile(LOGITS, 'cpu', calls=1)
