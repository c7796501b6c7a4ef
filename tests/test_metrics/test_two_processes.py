"""Two processes that share a test find what one does."""

import json

import pytest
import torch

from helpers.metric_processes import evaluate_share, run_share


def test_two_processes_find_what_one_does(tmp_path):
    torch.multiprocessing.spawn(run_share, args=(tmp_path,), nprocs=2)
    expected = evaluate_share()
    for rank in range(2):
        found = json.loads((tmp_path / f'{rank}.json').read_text())
        assert found == pytest.approx(expected, nan_ok=True)
    groups = {key.split('/')[0] for key in expected if '/' in key}
    assert groups == {'boundary', 'coarse', 'trimap', 'rmi'}
