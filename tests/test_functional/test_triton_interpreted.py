"""The Triton kernels against the reference, by Triton's interpreter on a CPU.

The interpreter is on for a whole process or off, so ``test_triton.py`` starts one of its own.
"""

import dataclasses

import pytest
import torch
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers import drawn
from helpers.batches import make_batch, sharp_logits
from mmseg_rmi.functional import RMISettings, reference, rmi_loss, streamed_rmi_loss, triton
from mmseg_rmi.functional.contract import Parameters, batch_normalizers
from mmseg_rmi.functional.triton.support import INTERPRETED

pytestmark = pytest.mark.skipif(
    not INTERPRETED, reason='needs TRITON_INTERPRET=1, with which test_triton.py runs it'
)
if INTERPRETED:
    from helpers.kernel_memory import MemoryWatch
    from mmseg_rmi.functional.triton import launch, operators, plan, trial


def terms_and_gradient(implementation, logits, labels, *weights, **constants):
    weights = weights or (None, None)
    parameters = Parameters(**constants)
    logits = logits.detach().requires_grad_()
    normalizers = batch_normalizers(labels, parameters.ignore_index)
    terms = implementation.rmi_terms(logits, labels, *weights, normalizers, parameters)
    terms.total.backward()
    return torch.stack([term.detach().double() for term in terms]), logits.grad


def assert_equals_reference(logits, labels, *weights, tolerance=3e-5, **constants):
    """Compare with the reference of float64 logits: of equal value, however they are stored."""
    terms, gradient = terms_and_gradient(triton, logits, labels, *weights, **constants)
    expected, slope = terms_and_gradient(reference, logits.double(), labels, *weights, **constants)
    torch.testing.assert_close(terms, expected, rtol=1e-5, atol=1e-6)
    assert gradient.dtype == logits.dtype
    assert gradient.stride() == logits.stride()
    assert (gradient.double() - slope).norm() <= tolerance * slope.norm() + 1e-9


@hypothesis_settings(max_examples=8, phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_equals_the_reference(data):
    settings = data.draw(drawn.settings(ridges=(5e-4, 1e-2)))
    if settings.downsample == 'interp':
        settings = dataclasses.replace(settings, downsample='avg')
    batch = data.draw(drawn.batches(settings, torch.float32, largest=2))
    weights = (batch.pixel_weight, batch.class_weight)
    batch = [each[:2] for each in (batch.logits, batch.labels)]
    weights = (None if weights[0] is None else weights[0][:2], weights[1])
    assert_equals_reference(
        *batch, *weights, settings=settings, with_score=data.draw(st.booleans())
    )


def small_batch(classes=2, **options):
    logits, labels = make_batch(images=1, classes=classes, height=13, width=15, **options)
    return logits.float(), labels


SETTINGS = {
    'regions-of-5': dict(region_size=5, downsample_factor=1),
    'cells-of-16': dict(region_size=1, downsample_factor=16),
    'relative': dict(region_size=2, covariance='relative', ridge=1e-3, downsample_factor=3),
    'mean': dict(region_size=2, covariance='mean', ridge=1e-6, downsample_factor=2),
    'exclude': dict(region_size=2, ignored='exclude', downsample_factor=2, nonnegative=False),
    'max': dict(region_size=2, downsample='max', downsample_factor=3),
    'ce': dict(region_size=1, pixel_term='ce', downsample_factor=2),
    'softmax': dict(region_size=1, activation='softmax', downsample='max', downsample_factor=2),
    'pixels-alone': dict(loss_lambda=1.0),
}


@pytest.mark.parametrize('settings', SETTINGS.values(), ids=SETTINGS)
def test_settings(settings):
    assert_equals_reference(*small_batch(), settings=RMISettings(**settings), with_score=True)


def test_several_scales():
    logits, labels = small_batch(classes=3)
    for options in (dict(), dict(downsample='max', activation='softmax', pixel_term='ce')):
        settings = RMISettings(region_size=2, **options)
        assert_equals_reference(
            logits, labels, settings=settings, downsample_factors=(1, 3), with_score=True
        )


def test_blocks_of_lags_and_slabs_of_cells_of_a_gpu(monkeypatch):
    monkeypatch.setattr(plan, 'LAG_BLOCK', 8)
    monkeypatch.setattr(plan, 'SLAB_CELLS', 256)
    logits, labels = make_batch(images=1, classes=2, height=39, width=37, void=False)
    labels[labels == 1] = 0
    assert_equals_reference(logits.float(), labels, settings=RMISettings(downsample_factor=2))


@pytest.mark.parametrize(
    ('options', 'low'),
    [
        (dict(), (36, 37)),
        (dict(ignored='exclude', pixel_term='ce'), (36, 37)),
        (dict(downsample='max', activation='softmax'), (9, 10)),
    ],
    ids=str,
)
def test_programs_can_run_at_once_and_touch_their_tensors_alone(monkeypatch, options, low):
    monkeypatch.setattr(plan, 'LAG_BLOCK', 8)
    monkeypatch.setattr(plan, 'SLAB_CELLS', 256)
    watch = MemoryWatch(monkeypatch)
    _, labels = make_batch(images=1, classes=2, height=36, width=37)
    logits = torch.randn(1, 2, *low, generator=torch.Generator().manual_seed(0))
    settings = RMISettings(region_size=2, downsample_factor=3, **options)
    terms_and_gradient(triton, logits, labels, settings=settings, with_score=True)
    assert watch.outside == set()
    assert watch.shared == {'find_targets'}  # whose programs all write the same number


TINY = RMISettings(region_size=2, downsample_factor=3)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(dtype):
    logits, labels = small_batch()
    # To bfloat16 the interpreter truncates; a card rounds, see test_triton_compilation.py.
    tolerance = {torch.float16: 2**-10, torch.bfloat16: 2**-7}[dtype]
    assert_equals_reference(logits.to(dtype), labels, settings=TINY, tolerance=tolerance)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int32], ids=str)
def test_any_layout_of_logits_and_labels(dtype):
    logits, labels = small_batch(classes=3)
    labels[labels == 2] = 0
    logits = logits.contiguous(memory_format=torch.channels_last)
    labels = labels.to(dtype).mT.contiguous().mT
    assert_equals_reference(logits, labels, settings=TINY)
    expanded = logits[:, :1].expand(-1, 3, -1, -1)  # whose gradient is not of their strides
    gradients = [
        terms_and_gradient(triton, each, labels, settings=TINY)[1]
        for each in (expanded, expanded.contiguous())
    ]
    assert torch.equal(*gradients)
    low = logits[..., ::3, ::4].contiguous(memory_format=torch.channels_last)
    assert_equals_reference(low, labels, settings=RMISettings(loss_lambda=1.0))


def test_many_classes():
    logits, labels = small_batch(classes=130)
    labels = labels.where(labels > 127, 129)
    assert_equals_reference(logits, labels, settings=RMISettings(region_size=1))


def test_one_channel():
    logits, labels = small_batch()
    settings = dataclasses.replace(TINY, nonnegative=False)
    assert_equals_reference(logits[:, :1].contiguous(), labels, settings=settings, with_score=True)


def test_saturated_logits():
    _, labels = small_batch(void=False)
    for magnitude in (30.0, 200.0, -200.0):
        logits = sharp_logits(labels, 2, magnitude).float()
        assert_equals_reference(logits, labels, settings=TINY, with_score=True)


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize(
    ('low', 'size', 'options'),
    [
        ((4, 5), (16, 20), dict()),
        ((5, 4), (14, 33), dict(downsample='max', pixel_term='ce')),
        ((1, 7), (12, 12), dict(activation='softmax')),
        ((1, 2), (36, 9), dict(loss_lambda=1.0)),
    ],
)
def test_up_sampled_logits(low, size, options, align_corners):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(1, 2, *low, generator=generator)
    labels = torch.randint(2, (1, *size), generator=generator)
    labels[:, :2, :5] = 255
    settings = dataclasses.replace(TINY, **options)
    assert_equals_reference(
        logits,
        labels,
        None,
        torch.tensor([0.5, 2.0]),
        settings=settings,
        align_corners=align_corners,
        with_score=True,
    )


def test_absent_classes_have_no_gradient_in_the_region_term():
    logits, labels = small_batch(classes=3)
    labels[labels == 2] = 0
    settings = dataclasses.replace(TINY, loss_lambda=0.0)
    _, gradient = terms_and_gradient(triton, logits, labels, settings=settings)
    assert (gradient[:, 2] == 0).all()
    assert (gradient[:, :2] != 0).any()


def test_runs_are_equal_bit_for_bit_whatever_lay_in_memory(monkeypatch):
    logits, labels = small_batch()
    expected = terms_and_gradient(triton, logits, labels, settings=TINY, with_score=True)
    new_empty = torch.Tensor.new_empty
    monkeypatch.setattr(
        torch.Tensor, 'new_empty', lambda *args, **kw: new_empty(*args, **kw).fill_(77)
    )
    measured = terms_and_gradient(triton, logits, labels, settings=TINY, with_score=True)
    torch.testing.assert_close(measured, expected, rtol=0, atol=0)


@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize('options', [dict(loss_lambda=0.0), dict(pixel_term='ce')], ids=str)
def test_one_bad_logit_makes_the_loss_non_finite(value, options):
    logits, labels = small_batch(classes=3)
    labels[labels == 2] = 0
    settings = dataclasses.replace(TINY, region_size=1, **options)
    for label, channel in ((0, 2), (255, 0)):
        bad, labels[0, 9, 9] = logits.clone(), label
        bad[0, channel, 9, 9] = value
        assert not rmi_loss(bad, labels, settings, impl='triton').isfinite()


def test_gradient_is_scaled_by_what_comes_from_above_and_made_again():
    logits, labels = small_batch()
    logits.requires_grad_()
    loss = rmi_loss(logits, labels, TINY, impl='triton')
    first, again = (
        torch.autograd.grad(scale * loss, logits, retain_graph=True)[0] for scale in (1.0, -4.0)
    )
    torch.testing.assert_close(again, -4 * first, rtol=1e-6, atol=0)


def test_second_derivative_is_refused():
    logits, labels = small_batch()
    loss = rmi_loss(logits.requires_grad_(), labels, RMISettings(loss_lambda=1.0), impl='triton')
    with pytest.raises(RuntimeError, match='cannot be differentiated'):
        loss.backward(create_graph=True)


def test_is_the_choice_of_its_tensors_and_needs_no_gradient():
    logits, labels = small_batch()
    settings = dataclasses.replace(TINY, region_size=1)
    with torch.inference_mode():
        assert rmi_loss(logits, labels, settings).dtype == torch.float32
    terms = streamed_rmi_loss(logits[..., ::2, ::2], labels, settings)
    assert not any(term.requires_grad for term in terms)


def test_compiles_to_one_graph_with_the_same_result():
    logits, labels = small_batch()
    settings = dataclasses.replace(TINY, region_size=1)

    def gradient(loss):
        x = logits.clone().requires_grad_()
        value = loss(x, labels)
        value.backward()
        return value.detach(), x.grad

    def loss(x, labels):
        return 2 * rmi_loss(1.5 * x, labels, settings, impl='triton')

    compiled = torch.compile(loss, backend='aot_eager', fullgraph=True)
    torch.testing.assert_close(gradient(compiled), gradient(loss), rtol=0, atol=0)


def test_operator_keeps_the_rules_of_torch():
    logits, labels = small_batch()
    normalizers = batch_normalizers(labels)
    constants = operators._as_constants(Parameters(RMISettings(region_size=1)))
    torch.library.opcheck(
        torch.ops.mmseg_rmi.rmi_forward.default,
        (logits.requires_grad_(), labels, None, None, *normalizers, True, *constants),
        test_utils=('test_schema', 'test_autograd_registration', 'test_faketensor'),
    )


def test_operators_are_the_same_for_every_step_of_a_warm_up():
    constants = [
        operators._as_constants(Parameters(RMISettings(loss_lambda=loss_lambda)))
        for loss_lambda in (0.0, 0.25, 0.5, 1.0)
    ]
    assert constants[0] == constants[1] == constants[2]
    assert constants[3] != constants[2]  # without a region term


def find_failure(streamed=False, dtype=torch.float32, channels=3, **settings):
    parameters = Parameters(RMISettings(**settings), with_score=streamed)
    kind = trial.Kind(torch.device('cpu'), parameters, dtype, channels, streamed)
    return trial.failure.__wrapped__(kind)


@pytest.mark.parametrize(
    'kind',
    [
        dict(),
        dict(streamed=True),
        dict(dtype=torch.bfloat16, region_size=5, downsample_factor=2),
        dict(dtype=torch.float16, pixel_term='ce', activation='softmax', downsample='max'),
        dict(channels=1, downsample_factor=16, region_size=1, ignored='exclude'),
        dict(loss_lambda=1.0, pixel_term='ce'),
        dict(covariance='relative', ridge=1e-6, nonnegative=False),
    ],
    ids=str,
)
def test_trial_finds_nothing_wrong(kind):
    assert find_failure(**kind) is None


def test_trial_is_on_its_devices_whatever_the_default_one():
    with torch.device('meta'):
        assert find_failure() is None


def test_trial_tells_of_a_wrong_gradient(monkeypatch):
    backward = launch.backward
    monkeypatch.setattr(launch, 'backward', lambda *call: 1.01 * backward(*call))
    assert 'the gradient was off by 1.0e-02' in find_failure()
    monkeypatch.setattr(launch, 'backward', lambda *call: 1.1 * backward(*call))
    assert 'the gradient was off by' in find_failure(dtype=torch.bfloat16)


def test_trial_tells_of_values_that_are_none(monkeypatch):
    forward = launch.forward

    def break_value(*call):
        terms, kept = forward(*call)
        return terms._replace(total=terms.total * torch.nan), kept

    monkeypatch.setattr(launch, 'forward', break_value)
    assert 'the loss was off by nan' in find_failure()


def test_trial_tells_why_kernels_are_not_built(monkeypatch):
    def fail(*call):
        raise RuntimeError('Python.h:\n  no such file')

    monkeypatch.setattr(launch, 'forward', fail)
    assert (
        find_failure() == 'a trial of the kernels failed with RuntimeError: Python.h: no such file'
    )
