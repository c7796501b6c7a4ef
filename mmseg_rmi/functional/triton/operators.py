"""Both passes as operators of torch, each one node of a compiled graph.

An operator takes tensors and plain values, so the constants of a call travel as such.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from mmseg_rmi.functional.contract import (
    Normalizers,
    Parameters,
    RMITerms,
    refuse_second_derivative,
    term_scales,
)
from mmseg_rmi.functional.settings import RMISettings
from mmseg_rmi.functional.triton import launch
from mmseg_rmi.functional.triton.plan import Plan

CONSTANTS = (
    'int region_size, str downsample, int downsample_factor, float loss_lambda, str covariance, '
    'float ridge, str ignored, bool nonnegative, str pixel_term, str activation, '
    'int ignore_index, bool align_corners, bool with_score'
)
SAVED = 'Tensor targets, Tensor present, Tensor slopes, Tensor winners, Tensor log_sum_exp'


def rmi_terms(
    logits: Tensor,
    labels: Tensor,
    pixel_weight: Tensor | None,
    class_weight: Tensor | None,
    normalizers: Normalizers,
    parameters: Parameters,
) -> RMITerms:
    """Compute the loss, see :func:`mmseg_rmi.functional.reference.rmi_terms`."""
    if class_weight is not None:
        class_weight = class_weight.to(logits.device, torch.float32).contiguous()
    scales = (scale.to(logits.device) for scale in term_scales(normalizers, parameters.settings))
    with_gradient = torch.is_grad_enabled() and logits.requires_grad
    tensors = (logits, labels, pixel_weight, class_weight, *scales)
    return RMITerms(*_forward(*tensors, with_gradient, *_as_constants(parameters))[:4])


def _as_constants(parameters: Parameters) -> tuple[int | float | str | bool, ...]:
    settings = parameters.settings
    return (
        settings.region_size,
        settings.downsample,
        settings.downsample_factor,
        # Its value is in the scales; as a constant it would make a graph of each step of a warm-up.
        1.0 if settings.loss_lambda == 1 else 0.0,
        settings.covariance,
        settings.ridge,
        settings.ignored,
        settings.nonnegative,
        settings.pixel_term,
        settings.activation,
        parameters.ignore_index,
        parameters.align_corners,
        parameters.with_score,
    )


def _make_plan(logits: tuple[int, ...], size: tuple[int, ...], constants: tuple[Any, ...]) -> Plan:
    *settings, ignore_index, align_corners, with_score = constants
    parameters = Parameters(RMISettings(*settings), ignore_index, align_corners, with_score)
    return Plan(logits, size, parameters)


_find_plan = functools.lru_cache(maxsize=256)(_make_plan)


@torch.library.custom_op(
    'mmseg_rmi::rmi_forward',
    mutates_args=(),
    schema='(Tensor logits, Tensor labels, Tensor? pixel_weight, Tensor? class_weight, '
    f'Tensor pixel_scale, Tensor region_scale, bool with_gradient, {CONSTANTS}) '
    f'-> (Tensor total, Tensor region, Tensor score, Tensor correct, {SAVED})',
)
def _forward(*arguments: Any) -> tuple[Tensor, ...]:
    *tensors, with_gradient = arguments[:7]
    logits, labels, *others = tensors
    plan = _find_plan(logits.shape, labels.shape[1:], arguments[7:])
    call: tuple[Any, ...] = (logits, labels, *others, plan, with_gradient)
    with torch.cuda.device_of(logits):  # Triton launches on the current device
        terms, saved = launch.forward(*call)
    return *terms, *saved


@_forward.register_fake
def _(logits: Tensor, labels: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    plan = _make_plan(logits.shape, labels.shape[1:], arguments[5:])
    terms, saved = launch.empty_results(logits, labels, plan, arguments[4])
    return *terms, *saved


@torch.library.custom_op(
    'mmseg_rmi::rmi_backward',
    mutates_args=(),
    schema='(Tensor incoming, Tensor logits, Tensor? pixel_weight, Tensor? class_weight, '
    f'Tensor pixel_scale, Tensor region_scale, {SAVED}, {CONSTANTS}) -> Tensor gradient',
)
def _backward(*arguments: Any) -> Tensor:
    logits, targets = arguments[1], arguments[6]
    plan = _find_plan(logits.shape, targets.shape[1:], arguments[11:])
    call: tuple[Any, ...] = (*arguments[:6], launch.SavedTensors(*arguments[6:11]), plan)
    with torch.cuda.device_of(logits):
        return launch.backward(*call)


@_backward.register_fake
def _(incoming: Tensor, logits: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(logits)


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, _labels, *others = inputs[:6]
    ctx.save_for_backward(logits, *others, *output[4:])
    ctx.constants = inputs[7:]
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, incoming: Tensor | None, *_: Tensor | None) -> tuple[Any, ...]:
    refuse_second_derivative()
    gradient = None
    if incoming is not None:
        gradient = _backward(incoming, *ctx.saved_tensors, *ctx.constants)
    return gradient, *[None] * (6 + len(ctx.constants))


_forward.register_autograd(_differentiate, setup_context=_keep_for_backward)
