"""What the Triton kernels take on, and their own tests, in a process with the interpreter on."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmseg_rmi.functional import RMISettings, blocked, rmi_loss, triton
from mmseg_rmi.functional.contract import Parameters
from mmseg_rmi.functional.rmi_loss import find_implementation
from mmseg_rmi.functional.triton import support, trial

TESTS = Path(__file__).with_name('test_triton_interpreted.py')


@pytest.mark.skipif(not support.INSTALLED, reason='needs Triton')
def test_kernels_equal_the_reference_in_the_interpreter():
    command = [sys.executable, '-m', 'pytest', str(TESTS), '-q', '-p', 'no:cacheprovider']
    root = TESTS.parents[2]
    environment = {**os.environ, 'TRITON_INTERPRET': '1', 'PYTHONPATH': str(root)}
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert ' skipped' not in run.stdout


class CudaTensor:
    """Stands for a tensor on a device that this machine lacks."""

    device = torch.device('cuda')
    shape = torch.Size([2, 21, 513, 513])
    dtype = torch.float32
    is_meta = False

    def stride(self, dim):
        return torch.empty(self.shape, device='meta').stride(dim)


@pytest.fixture
def card(monkeypatch):
    monkeypatch.setattr(support, 'INSTALLED', True)
    monkeypatch.setattr(support, 'HAS_CUSTOM_OPERATORS', True)
    monkeypatch.setattr(torch.version, 'hip', None)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: False)
    monkeypatch.setattr(trial, 'failure', lambda kind: None)
    support._log_once.cache_clear()


REFUSED = {
    'interp': dict(downsample='interp'),
    'region_size=6': dict(region_size=6),
    'downsample_factor=17': dict(downsample_factor=17),
    'ridge=1e-06': dict(ridge=1e-6),
    'ridge=1e-10': dict(ridge=1e-10, covariance='mean'),
}


@pytest.mark.parametrize('words', REFUSED)
def test_refuses_settings_and_tells_so_once(card, caplog, words):
    settings = RMISettings(**REFUSED[words])
    with caplog.at_level(logging.WARNING):
        reasons = {triton.unsupported_reason(CudaTensor(), Parameters(settings)) for _ in range(3)}
    assert len(reasons) == len(caplog.records) == 1
    assert words in reasons.pop()
    assert words in caplog.text
    settings = RMISettings(**REFUSED[words], loss_lambda=1.0)
    assert triton.unsupported_reason(CudaTensor(), Parameters(settings)) is None


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(downsample='max', downsample_factor=16, region_size=5),
        dict(covariance='mean', ridge=1e-6, ignored='exclude'),
        dict(covariance='relative', ridge=1e-3, activation='softmax', pixel_term='ce'),
    ],
    ids=str,
)
def test_takes_what_users_set(card, caplog, options):
    assert triton.unsupported_reason(CudaTensor(), Parameters(RMISettings(**options))) is None
    assert caplog.records == []


def test_size_of_labels_bounds_the_ridge_of_sums(card):
    settings = RMISettings(ridge=1e-4)
    assert triton.unsupported_reason(CudaTensor(), Parameters(settings)) is None
    assert 'ridge' in triton.unsupported_reason(
        CudaTensor(), Parameters(settings), size=(2000, 2000)
    )


def test_refuses_sizes_of_which_its_integers_would_overflow(card):
    settings = RMISettings(covariance='mean')
    assert (
        triton.unsupported_reason(CudaTensor(), Parameters(settings), size=(99, 4 * 2048)) is None
    )
    reason = triton.unsupported_reason(CudaTensor(), Parameters(settings), size=(99, 4 * 2048 + 1))
    assert '2048 cells a side' in reason
    planes = torch.empty(1, 200, 4096, 4096, device='meta')
    interleaved = planes.to(memory_format=torch.channels_last)
    assert 'elements of memory' not in triton.unsupported_reason(planes, Parameters(settings))
    assert 'elements of memory' in triton.unsupported_reason(interleaved, Parameters(settings))


def test_refuses_regions_in_float32(card, caplog):
    reason = triton.unsupported_reason(
        CudaTensor(), Parameters(RMISettings(), region_dtype=torch.float32)
    )
    assert 'region_dtype=torch.float32' in reason
    assert reason in caplog.text


@pytest.mark.parametrize(
    ('target', 'name', 'value', 'words'),
    [
        (support, 'INSTALLED', False, 'Triton is not installed'),
        (support, 'HAS_CUSTOM_OPERATORS', False, 'has no torch.library.custom_op'),
        (torch.version, 'hip', '6.0', 'NVIDIA devices alone'),
        (torch.cuda, 'get_device_capability', lambda _: (7, 0), '(7, 0) is below (7, 5)'),
    ],
    ids=['triton', 'custom operators', 'hip', 'capability'],
)
def test_what_a_machine_lacks_sends_the_loss_the_torch_way(
    card, monkeypatch, target, name, value, words
):
    monkeypatch.setattr(target, name, value)
    parameters = Parameters(RMISettings())
    assert words in triton.unsupported_reason(CudaTensor(), parameters)
    assert find_implementation('auto', CudaTensor(), parameters) is blocked.rmi_terms


def test_asks_for_the_c_compiler_that_triton_needs(card, monkeypatch):
    monkeypatch.setattr('shutil.which', lambda name: None)
    assert 'no C compiler' in triton.unsupported_reason(CudaTensor(), Parameters(RMISettings()))


def test_a_failed_trial_sends_the_loss_the_torch_way(card, monkeypatch, caplog):
    tried = []

    def failure(kind):
        tried.append((kind.device.type, kind.streamed))
        return 'a trial of the kernels failed with OSError: no libcuda.so'

    monkeypatch.setattr(trial, 'failure', failure)
    for size in (None, (513, 513), (2052, 2052)):
        implementation = find_implementation('auto', CudaTensor(), Parameters(RMISettings()), size)
        assert implementation is blocked.rmi_terms
    assert tried == [('cuda', False), ('cuda', False), ('cuda', True)]
    assert [record.message.count('no libcuda.so') for record in caplog.records] == [1]
    with pytest.raises(ValueError, match='trial of the kernels failed'):
        find_implementation('triton', CudaTensor(), Parameters(RMISettings()))

    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: True)
    assert triton.unsupported_reason(CudaTensor(), Parameters(RMISettings())) is None
    assert len(tried) == 4


def test_every_kind_of_kernels_is_tried(card, monkeypatch):
    tried = set()
    monkeypatch.setattr(trial, 'failure', tried.add)
    logits = CudaTensor()
    for loss_lambda in (0.25, 0.5):  # kernels do not depend on it
        settings = RMISettings(loss_lambda=loss_lambda)
        assert triton.unsupported_reason(logits, Parameters(settings)) is None
    assert len(tried) == 1
    triton.unsupported_reason(logits, Parameters(settings, downsample_factors=(2, 4)))
    assert {kind.parameters.settings.downsample_factor for kind in tried} == {2, 4}
    triton.unsupported_reason(logits, Parameters(RMISettings(loss_lambda=1.0)))
    logits.dtype = torch.bfloat16
    triton.unsupported_reason(logits, Parameters(settings))
    logits.shape = torch.Size([2, 1, 513, 513])
    triton.unsupported_reason(logits, Parameters(settings))
    assert [(kind.dtype, kind.channels) for kind in tried].count((torch.bfloat16, 1)) == 1
    assert len(tried) == 5


def test_look_at_the_machine_breaks_no_graph():
    """Dynamo cannot trace the search for a compiler; that for a card needs one."""

    def scale(values):
        return values if triton.missing_compiler() else 2 * values

    torch._dynamo.reset()
    compiled = torch.compile(scale, backend='eager', fullgraph=True)
    assert torch.equal(compiled(torch.ones(2)), scale(torch.ones(2)))


def test_refuses_a_cpu_in_words(card, monkeypatch):
    monkeypatch.setattr(support, 'INTERPRETED', False)
    logits, labels = torch.zeros(1, 2, 16, 16), torch.zeros(1, 16, 16, dtype=torch.long)
    with pytest.raises(
        ValueError, match="impl='triton' cannot compute this: the logits are on cpu"
    ):
        rmi_loss(logits, labels, impl='triton')
    assert 'float64' in triton.unsupported_reason(logits.double(), Parameters(RMISettings()))
