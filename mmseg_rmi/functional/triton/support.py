"""Find out what the kernels take on: which logits, settings and devices, and why not others."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mmseg_rmi.functional.contract import Parameters
from mmseg_rmi.functional.regions import least_ridge
from mmseg_rmi.functional.settings import RMISettings
from mmseg_rmi.functional.triton import trial
from mmseg_rmi.utils.tracing import has_values, is_compiling

# Triton's interpreter runs kernels on CPU tensors, slowly: for tests.
INTERPRETED = os.environ.get('TRITON_INTERPRET', '0').lower() in ('1', 'true', 'on', 'yes', 'y')
INSTALLED = importlib.util.find_spec('triton') is not None
HAS_CUSTOM_OPERATORS = hasattr(torch.library, 'custom_op')  # torch 2.4

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LARGEST_REGION_SIZE = 5
LARGEST_FACTOR = 16
LARGEST_SIDE = 2048  # of a pooled map: beyond it a grid, or an exact sum, would overflow
LARGEST_OFFSET = 2**31 - 1  # kernels count the elements within a map in int32
LEAST_CAPABILITY = (7, 5)


def unsupported_reason(
    logits: Tensor, parameters: Parameters, size: Sequence[int] | None = None
) -> str | None:
    """Return why the kernels cannot compute the loss of such logits, or None if they can.

    Each reason is logged once for CUDA tensors.

    Args:
        logits: ``B x C x H' x W'``.
        parameters: the constants of the call.
        size: ``(H, W)`` of the labels; that of the logits by default.

    Example:
        >>> parameters = Parameters(RMISettings())
        >>> unsupported_reason(torch.zeros(1, 2, 8, 8, dtype=torch.float64), parameters)
        'the logits are torch.float64, not float32, float16 or bfloat16'
    """
    reason = _logits_reason(logits)
    for scale in parameters.scales:
        reason = reason or _region_reason(scale, size or logits.shape[2:], parameters.region_dtype)
    reason = reason or _device_reason(logits.device) or _trial_reason(logits, parameters, size)
    if reason is not None and logits.device.type == 'cuda' and not is_compiling():
        _log_once(reason)
    return reason


def _logits_reason(logits: Tensor) -> str | None:
    if logits.dtype not in DTYPES:
        return f'the logits are {logits.dtype}, not float32, float16 or bfloat16'
    last_row, last_column = (side - 1 for side in logits.shape[2:])
    if last_row * logits.stride(2) + last_column * logits.stride(3) > LARGEST_OFFSET:
        return f'a map of the logits stretches over more than {LARGEST_OFFSET} elements of memory'
    return None


def _region_reason(
    settings: RMISettings, size: Sequence[int], region_dtype: torch.dtype
) -> str | None:
    if region_dtype != torch.float64:
        return f'region_dtype={region_dtype} is not torch.float64, in which the kernels solve'
    if settings.downsample == 'interp':
        return "downsample='interp' is not one of 'avg' and 'max'"
    if settings.region_size > LARGEST_REGION_SIZE:
        return f'region_size={settings.region_size} is above {LARGEST_REGION_SIZE}'
    if settings.downsample_factor > LARGEST_FACTOR:
        return f'downsample_factor={settings.downsample_factor} is above {LARGEST_FACTOR}'
    if max(size) > LARGEST_SIDE * settings.downsample_factor:
        return f'pooled maps have more than {LARGEST_SIDE} cells a side'
    least = least_ridge(settings.covariance, size[0] * size[1] / settings.downsample_factor**2)
    if settings.ridge < least:
        return f'ridge={settings.ridge} is below {least:.1e}, which float64 does not resolve here'
    return None


def _device_reason(device: torch.device) -> str | None:
    if device.type != 'cuda':
        interpreted = device.type == 'cpu' and INSTALLED and INTERPRETED
        return None if interpreted else f'the logits are on {device.type}, not on a CUDA device'
    if not INSTALLED:
        return 'Triton is not installed'
    if not HAS_CUSTOM_OPERATORS:
        return f'torch {torch.__version__} has no torch.library.custom_op, which came with 2.4'
    if torch.version.hip is not None:
        return 'the kernels are tested on NVIDIA devices alone'
    if not torch.cuda.is_available():  # of a fake tensor
        return 'there is no CUDA device'
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        return f'compute capability {capability} is below {LEAST_CAPABILITY}'
    return missing_compiler()


def _trial_reason(logits: Tensor, parameters: Parameters, size: Sequence[int] | None) -> str | None:
    if logits.device.type != 'cuda' or is_compiling() or not has_values(logits):
        return None
    if torch.cuda.is_current_stream_capturing():  # as it was, or was not, tried before
        return None
    channels = 1 if logits.shape[1] == 1 else 3
    streamed = size is not None and tuple(size) != tuple(logits.shape[2:])
    for settings in parameters.scales or [parameters.settings]:
        one_scale = replace(parameters, settings=settings, downsample_factors=None)
        kind = trial.Kind(logits.device, one_scale, logits.dtype, channels, streamed)
        if reason := trial.failure(kind):
            return reason
    return None


def missing_compiler() -> str | None:
    """Return why Triton cannot build what launches a kernel here, or None if it can."""
    if is_compiling():  # a graph would break at the search, and its compiler needs one as well
        return None
    compilers = [os.environ.get('CC', 'cc'), 'gcc', 'clang']
    if any(map(shutil.which, compilers)):
        return None
    return f'no C compiler: none of {", ".join(compilers)} is on the PATH'


@functools.cache
def _log_once(reason: str) -> None:
    logging.getLogger(__name__).warning(
        'The RMI loss runs in plain torch instead of Triton kernels, which is slower: %s', reason
    )
