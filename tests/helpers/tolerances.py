"""How closely two computations of the same quantity must agree, by the type of the numbers."""

import torch

# A few hundred roundings of float64, float32; half precision is promoted, so one rounding of each.
TOLERANCES = {
    torch.float64: dict(rtol=1e-9, atol=1e-10),
    torch.float32: dict(rtol=1e-4, atol=1e-6),
    torch.bfloat16: dict(rtol=2**-8, atol=1e-6),
    torch.float16: dict(rtol=2**-11, atol=1e-6),
}


def assert_close(actual, expected, dtype: torch.dtype | None = None, scale: float = 1.0) -> None:
    """``torch.testing.assert_close`` with the tolerances of ``dtype`` (that of ``actual``)."""
    actual = torch.as_tensor(actual).detach()
    expected = torch.as_tensor(expected, dtype=actual.dtype).detach()
    tolerance = TOLERANCES[dtype or actual.dtype]
    torch.testing.assert_close(
        actual, expected, rtol=scale * tolerance['rtol'], atol=scale * tolerance['atol']
    )
