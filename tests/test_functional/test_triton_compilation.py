"""Every kernel compiles for real cards, without one: no spills, and little shared memory."""

import re
import subprocess

import pytest
import torch

from mmseg_rmi.functional import RMISettings
from mmseg_rmi.functional.contract import Parameters

triton = pytest.importorskip('triton')
pytest.importorskip('triton.backends.nvidia')

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from mmseg_rmi.functional.triton import kernels, launch  # noqa: E402
from mmseg_rmi.functional.triton.plan import BLOCK, Plan  # noqa: E402
from mmseg_rmi.functional.triton.support import INTERPRETED, LARGEST_SIDE  # noqa: E402

pytestmark = pytest.mark.skipif(INTERPRETED, reason='the interpreter is on')

TYPES = {
    torch.float16: '*fp16',
    torch.bfloat16: '*bf16',
    torch.float32: '*fp32',
    torch.float64: '*fp64',
    torch.uint8: '*u8',
    torch.int8: '*i8',
    torch.int16: '*i16',
    torch.int32: '*i32',
    torch.int64: '*i64',
}
FEW_BYTES = 32  # for which some version of the assembler may buy room for another block
LARGEST_SHARED = 48 << 10  # of any card, without asking for more
FULL, LOW = ((1, 21, 65, 65), (65, 65)), ((1, 21, 17, 17), (65, 65))
CASES = {
    'defaults': (90, torch.float32, FULL, dict()),
    'defaults-a100': (80, torch.float32, FULL, dict()),
    'defaults-ada': (89, torch.bfloat16, FULL, dict()),
    'streamed': (90, torch.float32, LOW, dict()),
    'streamed-max-ce': (80, torch.float16, LOW, dict(downsample='max', pixel_term='ce')),
    'softmax': (90, torch.bfloat16, LOW, dict(activation='softmax', downsample_factor=3)),
    'exclude-5': (90, torch.float32, FULL, dict(region_size=5, ignored='exclude')),
    'one-channel': (80, torch.float32, ((1, 1, 65, 65), (65, 65)), dict()),
    'many-slabs': (90, torch.float32, ((1, 2, 513, 513), (513, 513)), dict(ignored='exclude')),
    'cells-of-16': (89, torch.float16, FULL, dict(downsample_factor=16, downsample='max')),
    'sides-of-512': (90, torch.bfloat16, ((1, 150, 512, 512), (512, 512)), dict()),
    'streamed-to-512': (90, torch.float32, ((1, 150, 128, 128), (512, 512)), dict()),
}


class Launches:
    """Records launches of a kernel in place of launching it, specialised as a launch would be."""

    def __init__(self, kernel, seen: list) -> None:
        self.kernel, self.seen = kernel, seen

    def __getitem__(self, grid):
        def record(*arguments, num_warps=4, **constants):
            names = self.kernel.arg_names
            signature, constants, multiples = {}, dict(constants), set()
            for name, value, parameter in zip(names, arguments, self.kernel.params, strict=False):
                if isinstance(value, torch.Tensor):
                    signature[name] = TYPES[value.dtype]
                elif isinstance(value, float):
                    signature[name] = 'fp32'
                elif value == 1 and not parameter.do_not_specialize:  # Triton makes it a constant
                    constants[name] = value
                else:
                    signature[name] = 'i32'
                if name in signature and not parameter.do_not_specialize and is_multiple(value):
                    multiples.add(name)
            ordered = {name: signature.get(name, 'constexpr') for name in names}
            self.seen.append((self.kernel, ordered, constants, multiples, num_warps))

        return record


def is_multiple(value) -> bool:
    """Tell whether Triton compiles for multiples of 16: addresses, and integers."""
    if isinstance(value, torch.Tensor):
        return value.data_ptr() % 16 == 0
    return isinstance(value, int) and value % 16 == 0


@pytest.fixture
def launches(monkeypatch):
    seen = []
    for name in kernels.__all__:
        monkeypatch.setattr(kernels, name, Launches(getattr(kernels, name), seen))
    return seen


def compile_kernel(capability, kernel, signature, constants, multiples, num_warps, folder):
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    attributes = {
        (kernel.arg_names.index(name),): [['tt.divisibility', 16]] for name in sorted(multiples)
    }
    compiled = triton.compile(
        ASTSource(kernel, signature, places, attributes),
        target=GPUTarget('cuda', capability, 32),
        options=dict(num_warps=num_warps),
    )
    cubin = folder / f'{kernel.__name__}.cubin'
    cubin.write_bytes(compiled.asm['cubin'])
    tool = triton.knobs.nvidia.cuobjdump.path
    usage = subprocess.run(
        [tool, '--dump-resource-usage', str(cubin)], capture_output=True, text=True, check=True
    ).stdout
    return compiled, {name: int(n) for name, n in re.findall(r'(REG|STACK|LOCAL):(\d+)', usage)}


def launch_both_passes(dtype, shapes, options, weighted):
    (shape, size), parameters = shapes, Parameters(RMISettings(**options), with_score=weighted)
    logits, labels = torch.empty(shape, dtype=dtype), torch.empty(1, *size, dtype=torch.long)
    weights: tuple = (None, None)
    if weighted:
        weights = torch.empty(labels.shape) if shape[2:] == size else None, torch.empty(shape[1])
    scales = [torch.empty((), dtype=torch.float64)] * 2
    plan = Plan(shape, size, parameters)
    _, saved = launch.forward(logits, labels, *weights, *scales, plan, True)
    launch.backward(torch.empty(()), logits, *weights, *scales, saved, plan)


@pytest.mark.parametrize(('capability', 'dtype', 'shapes', 'options'), CASES.values(), ids=CASES)
def test_no_kernel_spills(launches, tmp_path, capability, dtype, shapes, options):
    launch_both_passes(dtype, shapes, options, weighted=True)
    assert len(launches) >= 7
    for kernel, *call in launches:
        compiled, usage = compile_kernel(capability, kernel, *call, tmp_path)
        assert usage['STACK'] + usage['LOCAL'] <= FEW_BYTES, (kernel.__name__, usage)
        assert usage['REG'] <= 255
        assert compiled.metadata.shared <= LARGEST_SHARED


def test_gradient_in_half_precision_is_rounded_to_nearest(launches, tmp_path):
    launch_both_passes(torch.bfloat16, FULL, {}, weighted=False)
    last, *call = launches[-1]
    compiled, _ = compile_kernel(90, last, *call, tmp_path)
    assert last.__name__ == 'write_gradient'
    assert set(re.findall(r'cvt\.r\w\.bf16', compiled.asm['ptx'])) == {'cvt.rn.bf16'}


def test_cases_launch_every_kernel(launches):
    for _, *case in CASES.values():
        launch_both_passes(*case, weighted=False)
    assert {kernel.__name__ for kernel, *_ in launches} == set(kernels.__all__)


def test_kernels_are_not_compiled_anew_for_another_lambda(launches):
    """A warm-up changes it in every iteration."""
    for loss_lambda in (0.75, 0.5):
        launch_both_passes(torch.float32, LOW, dict(loss_lambda=loss_lambda), weighted=False)
    number = len(launches) // 2
    assert launches[:number] == launches[number:]


@pytest.mark.parametrize('ignored', ['zero', 'exclude'])
def test_largest_maps_fit_exact_sums_and_grids(ignored):
    side = LARGEST_SIDE
    settings = RMISettings(region_size=5, downsample_factor=1, ignored=ignored)
    plan = Plan((1, 2, side, side), (side, side), Parameters(settings))
    border = 4 * 2 * side  # cells that a program sums up for one place of a region
    assert max(plan.slab_cells, border) * 2**48 < 2**63
    assert plan.slabs * plan.slab_cells >= plan.cells
    assert max(plan.parts, triton.cdiv(plan.cells, BLOCK)) < 2**16
