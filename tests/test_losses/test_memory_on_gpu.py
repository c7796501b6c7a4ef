"""The memory of a pass forward and backward on a card, which does not depend on the card."""

from dataclasses import replace

import pytest

from tools.benchmark.cases import Case
from tools.benchmark.measure import peak_bytes, time_call
from tools.benchmark.methods import STREAMED, build_workloads

pytestmark = pytest.mark.gpu
LOGITS = Case(batch=4)
HEAD = Case('head', batch=4, low_side=129, present=3)


def peaks(case: Case, *names: str) -> list[int]:
    found = []
    for build in build_workloads(case, 'cuda', names).values():
        workload = build()
        time_call(workload, 'cuda')  # what is allocated once is no part of it
        found.append(peak_bytes(workload, 'cuda'))
    return found


@pytest.mark.parametrize('present', [3, 21])
def test_the_loss_needs_little_more_than_its_gradient(present):
    case = replace(LOGITS, present=present)
    (peak,) = peaks(case, 'RMI')
    assert case.logit_bytes <= peak <= 1.1 * case.logit_bytes


def test_a_streamed_head_needs_a_twentieth_of_the_head_with_cross_entropy():
    plain, streamed = peaks(HEAD, 'CE', STREAMED)
    assert streamed <= plain / 20
