"""What a figure was measured on."""

import os
import platform
import subprocess
from types import SimpleNamespace

import pytest
import torch

from tools.benchmark import machine

CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC 9R14
"""


def test_a_processor_is_told_by_name_and_generation():
    assert machine.describe_processor(CPUINFO) == 'AMD EPYC 9R14, family 25, model 17'


def test_a_processor_without_numbers_keeps_its_name():
    assert machine.describe_processor('model name\t: Some CPU\n') == 'Some CPU'


def test_the_description_counts_cores():
    assert machine.describe_machine().endswith(f', {os.cpu_count()} cores')


def test_versions_are_those_of_the_modules():
    versions = machine.describe_versions()
    assert versions['python'] == platform.python_version()
    assert versions['torch'] == torch.__version__
    assert 'mmseg_rmi' in versions


def test_modules_that_are_missing_are_left_out(monkeypatch):
    monkeypatch.setattr(machine, 'MODULES', ('no_such_module', 'torch'))
    assert list(machine.describe_versions())[:2] == ['python', 'torch']


def test_a_run_is_captioned_with_machine_and_torch():
    caption = machine.describe_run()
    assert caption.startswith(machine.describe_machine())
    assert f'torch {torch.__version__}' in caption


@pytest.fixture
def card(monkeypatch):
    """A card whose clocks never stand still."""
    fields = {'driver_version': '570.1', 'power.limit': '700.00 W', 'clocks.max.sm': '1980 MHz'}
    clocks = iter(range(1000, 2000))

    def answer(command, **_):
        (names,) = (word.split('=')[1] for word in command if word.startswith('--query-gpu='))
        told = [fields.get(name) or f'{next(clocks)} MHz' for name in names.split(',')]
        return SimpleNamespace(stdout=', '.join(told) + '\n')

    properties = SimpleNamespace(name='H200', total_memory=140 * 2**30, multi_processor_count=132)
    monkeypatch.setattr(subprocess, 'run', answer)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda _: properties)


@pytest.mark.usefixtures('card')
def test_a_card_is_described_by_what_stays():
    described = 'H200, 140 GiB, 132 multiprocessors, driver 570.1, at most 700.00 W'
    assert [machine.describe_machine('cuda') for _ in range(2)] == [described] * 2
    caption = machine.describe_run('cuda')
    assert caption.startswith(f'{described}, SM 1000 MHz of 1980 MHz, memory 1001 MHz, torch ')
