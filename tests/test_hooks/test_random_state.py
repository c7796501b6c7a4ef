import random

import numpy as np
import torch

from mmseg_rmi.hooks.random_state import host_state, seeded, set_host_state


def draw() -> tuple[float, ...]:
    # A normal variate each: NumPy's and python's generators keep the second of a pair.
    return random.gauss(0, 1), np.random.standard_normal(), torch.randn(()).item()  # noqa: NPY002


def test_a_state_that_went_through_a_file_gives_the_same_draws(tmp_path):
    draw()
    torch.save(host_state(), tmp_path / 'state.pth')
    expected = [draw() for _ in range(3)]
    set_host_state(torch.load(tmp_path / 'state.pth', weights_only=True))
    assert [draw() for _ in range(3)] == expected


def test_seeded_draws_depend_on_the_entropy_alone():
    def drawn(*entropy: int) -> tuple[float, ...]:
        draw()
        with seeded(*entropy):
            return draw()

    assert drawn(1, 2) == drawn(1, 2)
    assert len({drawn(1, 2), drawn(2, 1), drawn(1, 0), drawn(0, 0)}) == 4


def test_seeded_draws_leave_the_outer_generators_alone():
    state = host_state()
    expected = draw()
    set_host_state(state)
    with seeded(0):
        draw()
    assert draw() == expected
