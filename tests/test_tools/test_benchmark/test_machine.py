"""What a figure was measured on."""

import os
import platform

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
