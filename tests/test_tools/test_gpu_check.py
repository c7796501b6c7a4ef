"""The check on a GPU, rehearsed on the CPU: its parts, their failures, and what it leaves."""

import faulthandler
import json
import subprocess
import sys

import pytest
import torch

from helpers.tool_runs import ROOT, load_tool, run
from tools.benchmark import correctness, training

tool = load_tool('gpu_check.py')


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Run some parts in this process; return the exit status and what was written."""

    def check(*parts: str):
        options = ['--out', str(tmp_path), '--device', 'cpu', '--quick', '--minutes', '60']
        options += ['--parts', *parts]
        monkeypatch.setattr(sys, 'argv', ['gpu_check.py', *options])
        return tool.main(), json.loads((tmp_path / 'gpu_check.json').read_text())

    yield check
    faulthandler.cancel_dump_traceback_later()  # which a main that raises leaves armed


def test_a_rehearsal_goes_all_the_way(tmp_path):
    parts = ['heads', 'step', 'others', 'sweeps', 'training']
    command = [sys.executable, ROOT / 'tools' / 'gpu_check.py', '--out', tmp_path]
    said = run(*command, '--device', 'cpu', '--quick', '--minutes', '60', '--parts', *parts)
    found = json.loads((tmp_path / 'gpu_check.json').read_text())
    assert {part: found['parts'][part]['status'] for part in parts} == dict.fromkeys(
        parts, 'passed'
    )
    assert {r['method'] for r in found['records']} >= {'CE', 'RMI', 'RMI, streamed'}
    assert [each['loss'] for each in found['training']] == ['ce', 'rmi']
    assert all(0 <= each['mIoU'] <= 100 for each in found['training'])
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ['cases.png', 'cost.md', 'gpu_check.json', 'sweeps.png']
    assert 'training: passed' in said


def test_every_check_that_a_cpu_allows_passes(check, monkeypatch):
    monkeypatch.setattr(tool, 'CHECK_LIMIT', 3600)  # however busy the machine is
    status, found = check('values', 'graphs')
    assert status == 0
    records = found['correctness']
    checks = {**correctness.VALUES, **correctness.GRAPHS}
    assert len(records) == len(checks) * len(correctness.CHECKED)
    skipped = {r['check'] for r in records if 'skipped' in r}
    assert skipped == {'kernels', 'no waiting for the device', 'CUDA graph'}


def test_a_part_that_fails_is_recorded_and_the_next_one_runs(check, monkeypatch):
    def fail(run):
        raise RuntimeError('no such kernel')

    monkeypatch.setitem(tool.PARTS, 'losses', fail)
    monkeypatch.setitem(tool.PARTS, 'heads', lambda run: {})
    status, found = check('losses', 'heads')
    assert status == 1
    assert 'no such kernel' in found['parts']['losses']['error']
    assert found['parts']['heads']['status'] == 'passed'


def test_a_method_that_fails_is_a_failure_of_its_part(check, monkeypatch):
    def fail(case, device, names, *_):
        return [dict(case=vars(case), title=case.title, method='CE', error='out of memory')]

    monkeypatch.setattr(tool, 'measure_together', fail)
    status, found = check('step')
    assert status == 1
    assert found['records'][0]['error'] == 'out of memory'


def test_without_time_nothing_more_is_begun(check, monkeypatch):
    monkeypatch.setattr(tool.Run, 'left', lambda _: -1.0)
    status, found = check('losses')
    assert status == 0
    assert found['parts']['losses'] == dict(status='skipped', note='out of time')


def test_tests_and_checks_end_with_the_time_that_is_left(check, monkeypatch):
    limits = []

    def end(command, timeout, **_):
        limits.append(timeout)
        raise subprocess.TimeoutExpired(command, timeout)

    def run_checks(checks, device, out_of_time):
        limits.append(out_of_time())
        return []

    monkeypatch.setattr(tool.Run, 'left', lambda _: 7.0)
    monkeypatch.setattr(tool.subprocess, 'run', end)
    monkeypatch.setattr(tool.correctness, 'run_checks', run_checks)
    monkeypatch.setattr(tool.time, 'monotonic', iter(range(0, 1000, 8)).__next__)
    _, found = check('tests', 'values')
    assert found['parts']['tests']['note'] == 'not over after 7 s'
    assert limits == [7.0, True]


def test_errors_beyond_the_tolerance_are_refused():
    expected = torch.tensor(2.0), torch.tensor([1.0, -4.0])
    close = torch.tensor(2.0), torch.tensor([1.0001, -4.0])
    assert correctness.compare(close, expected, torch.float32) == 'value 0.0e+00, gradient 2.5e-05'
    for wrong in (torch.tensor([1.001, -4.0]), torch.tensor([float('nan'), -4.0])):
        with pytest.raises(AssertionError, match='allowed are'):
            correctness.compare((expected[0], wrong), expected, torch.float32)


def test_a_loss_that_changes_is_not_deterministic(monkeypatch):
    class Noisy(torch.nn.Module):
        def __init__(self, **_):
            super().__init__()

        def forward(self, logits, labels):
            return logits.sum() * torch.rand(())

    monkeypatch.setattr(correctness, 'RMILoss', Noisy)
    with pytest.raises(AssertionError, match='4 of 4 runs differ'):
        correctness.repeats_itself('RMI', 'cpu')


def test_a_device_that_answers_no_more_gets_a_fresh_process(check, monkeypatch):
    class Replaced(Exception):
        pass

    def replace(program, command):
        raise Replaced(*command)

    monkeypatch.setattr(tool.Run, 'answers', lambda _: False)
    monkeypatch.setattr(tool.os, 'execv', replace)
    monkeypatch.setitem(tool.PARTS, 'losses', lambda run: {})
    with pytest.raises(Replaced) as replaced:
        check('losses', 'heads', 'step')
    command = replaced.value.args
    assert command[-4:] == ('--go-on', '--parts', 'heads', 'step')
    assert command[0] == sys.executable


def test_a_fresh_process_goes_on_with_what_was_found(check, monkeypatch):
    monkeypatch.setitem(tool.PARTS, 'losses', lambda run: {})
    check('losses')
    status, found = check('heads', '--go-on')
    assert status == 0
    assert list(found['parts']) == ['losses', 'heads']


def test_checks_for_which_there_is_no_time_are_named():
    records = list(correctness.run_checks(correctness.VALUES, 'cpu', out_of_time=lambda: True))
    assert {record['skipped'] for record in records} == {'out of time'}


@pytest.mark.parametrize(('seconds', 'iterations'), [(0.1, 85), (0.001, 1600), (1000.0, 2)])
def test_a_training_fits_its_time(seconds, iterations):
    assert training.iterations_within(10.0, dict(seconds=seconds)) == iterations
