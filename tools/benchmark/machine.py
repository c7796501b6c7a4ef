"""Describe what figures were measured on: processor or GPU, versions, date."""

import contextlib
import importlib
import os
import platform
import re
import subprocess
from datetime import date
from pathlib import Path

import torch

MODULES = ('torch', 'triton', 'numpy', 'cv2', 'mmengine', 'mmcv', 'mmseg', 'timm', 'mmseg_rmi')


def describe_machine(device: str = 'cpu') -> str:
    """Name the processor and its cores, or the GPU with its memory, driver and power limit."""
    if torch.device(device).type == 'cuda':
        return _describe_gpu()
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        name = describe_processor(Path('/proc/cpuinfo').read_text()) or name
    return f'{name}, {os.cpu_count()} cores'


def describe_processor(cpuinfo: str) -> str:
    """Name the first processor that Linux lists, with the numbers that tell its generation.

    Another generation rounds in another way, and the same seed does not lead to the same network.
    """
    fields = ('model name', 'cpu family', 'model')
    found = [re.search(rf'^{field}\s*: (.*)', cpuinfo, re.MULTILINE) for field in fields]
    name, family, model = ['' if match is None else match[1] for match in found]
    return f'{name}, family {family}, model {model}' if family and model else name


def _describe_gpu() -> str:
    properties = torch.cuda.get_device_properties(0)
    described = (
        f'{properties.name}, {properties.total_memory / 2**30:.0f} GiB, '
        f'{properties.multi_processor_count} multiprocessors'
    )
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        driver, power = _ask_gpu('driver_version', 'power.limit')
        described += f', driver {driver}, at most {power}'
    return described


def _describe_clocks() -> str:
    """Tell the clocks of the GPU as they are now, if it does."""
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        now, most, memory = _ask_gpu('clocks.sm', 'clocks.max.sm', 'clocks.mem')
        return f'SM {now} of {most}, memory {memory}, '
    return ''


def _ask_gpu(*fields: str) -> list[str]:
    query = ['nvidia-smi', '--id=0', f'--query-gpu={",".join(fields)}', '--format=csv,noheader']
    answer = subprocess.run(query, capture_output=True, text=True, check=True)
    return answer.stdout.strip().split(', ')


def describe_versions() -> dict[str, str]:
    """Find the versions of what computes, of those modules that are installed."""
    versions = {'python': platform.python_version()}
    for name in MODULES:
        with contextlib.suppress(ImportError, AttributeError):
            versions[name] = str(importlib.import_module(name).__version__)
    if torch.version.cuda:
        versions['cuda'] = torch.version.cuda
    return versions


def describe_run(device: str = 'cpu') -> str:
    """Caption a table: machine, threads of a CPU or clocks of a GPU, torch, date."""
    on_gpu = torch.device(device).type == 'cuda'
    now = _describe_clocks() if on_gpu else f'{torch.get_num_threads()} threads, '
    return f'{describe_machine(device)}, {now}torch {torch.__version__}, {date.today():%Y-%m-%d}'
