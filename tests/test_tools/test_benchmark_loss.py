"""The benchmark's parts, on shapes that take no time."""

import pytest

from helpers.tool_runs import load_tool

benchmark = load_tool('analysis/benchmark_loss.py')
SMALL = benchmark.Case('losses', batch=2, classes=3, size=33, present=3)
HEAD = benchmark.Case('heads', batch=2, classes=3, size=33, present=3, low=9)


@pytest.mark.parametrize('case', [SMALL, HEAD], ids=['losses', 'heads'])
def test_every_loss_of_a_case_is_timed_beside_cross_entropy(case):
    for name in benchmark.names_of(case):
        spent = benchmark.time_pair(case, 'cpu', name, rounds=1)
        assert list(spent) == ['CE', name]
        for parts in spent.values():
            assert parts['total'] == pytest.approx(parts['forward'] + parts['backward'])


def test_labels_hold_the_classes_that_a_case_says():
    labels = benchmark.make_labels(benchmark.Case('losses', batch=2, size=65, present=3), 'cpu')
    assert [sorted(label.unique().tolist()) for label in labels] == [[0, 1, 2]] * 2


def test_ratios_are_to_cross_entropy_and_to_the_logits():
    case = dict(batch=1, classes=2, size=10)
    records = [
        dict(case=case, loss='CE', total=2e-6, memory=800),
        dict(case=case, loss='RMI', total=1e-6, memory=400),
    ]
    benchmark.add_ratios(records)
    assert records[1]['memory_to_ce'] == 0.5
    assert records[1]['memory_to_logits'] == 0.5  # 200 logits of 4 bytes
    assert records[1]['ns_per_logit'] == pytest.approx(5.0)


def test_profile_names_operations():
    assert '_GradientWithValue' in benchmark.profile(SMALL, 'cpu', calls=1)
