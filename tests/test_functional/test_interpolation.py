"""The adjoint of interpolation is autograd's, by torch's own operation and by matrices."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from mmseg_rmi.functional.blocked import interpolation


@pytest.fixture(params=['own operation', 'matrices'], autouse=True, scope='module')
def every_way(request):
    """CUDA takes matrices."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        if request.param == 'matrices':
            monkeypatch.setattr(interpolation, 'DETERMINISTIC_DEVICES', ())
        yield


sides = st.tuples(st.integers(1, 20), st.integers(1, 20))


@given(before=sides, after=sides, align_corners=st.booleans(), seed=st.integers(0, 99))
def test_adjoint_is_that_of_autograd(before, after, align_corners, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.zeros(2, 3, *before, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(2, 3, *after, dtype=torch.float64, generator=generator)
    result = F.interpolate(maps, after, mode='bilinear', align_corners=align_corners)
    (expected,) = torch.autograd.grad(result, maps, gradient)
    measured = interpolation.bilinear_adjoint(gradient, before, align_corners)
    torch.testing.assert_close(measured, expected, rtol=1e-12, atol=1e-12)
