"""Class weights are read from everything that MMSegmentation's CrossEntropyLoss takes."""

import json
import pickle
import re

import numpy as np
import pytest
import torch
from mmseg.models.losses.utils import get_class_weight

from mmseg_rmi.losses.class_weight import load_class_weight

WEIGHTS = [0.25, 1.0, 2.5]


@pytest.fixture(params=['npy', 'json', 'yaml', 'pkl'])
def weight_file(request, tmp_path):
    """A file of the weights, in each of the formats that MMSegmentation reads."""
    path = tmp_path / f'weights.{request.param}'
    writers = dict(
        npy=lambda: np.save(path, np.array(WEIGHTS)),
        json=lambda: path.write_text(json.dumps(WEIGHTS)),
        yaml=lambda: path.write_text(''.join(f'- {weight}\n' for weight in WEIGHTS)),
        pkl=lambda: path.write_bytes(pickle.dumps(WEIGHTS)),
    )
    writers[request.param]()
    return path


def test_files_are_read_as_mmsegmentation_reads_them(weight_file):
    expected = torch.tensor(np.asarray(get_class_weight(str(weight_file))), dtype=torch.float32)
    assert expected.tolist() == WEIGHTS
    assert torch.equal(load_class_weight(str(weight_file)), expected)
    assert torch.equal(load_class_weight(weight_file), expected)


@pytest.mark.parametrize(
    'form', [list, tuple, np.array, np.float32, torch.tensor, torch.DoubleTensor]
)
def test_every_sequence_of_numbers_becomes_a_float32_tensor(form):
    loaded = load_class_weight(form(WEIGHTS))
    assert loaded.dtype == torch.float32
    assert loaded.tolist() == WEIGHTS


def test_the_tensor_is_a_copy():
    weights = torch.ones(2)
    loaded = load_class_weight(weights)
    weights.zero_()
    assert loaded.tolist() == [1.0, 1.0]


def test_none_stays_none():
    assert load_class_weight(None) is None


@pytest.mark.parametrize(
    ('value', 'error', 'message'),
    [
        ([1.0, -0.5], ValueError, r'class_weight must be at least 0, got -0\.5'),
        ([1.0, 1e39], ValueError, r'class_weight must be from .* to 1e\+12, got 1e\+39'),
        ([1.0, float('nan')], ValueError, 'class_weight must be finite, got nan'),
        ([1.0, 'a'], TypeError, "class_weight must be a number, got 'a'"),
        ([1.0, True], TypeError, 'class_weight must be a number, got True'),
        ([[1.0, 2.0]], TypeError, r'class_weight must be a number, got \[1\.0, 2\.0\]'),
        (torch.ones(2, 2), TypeError, r'class_weight must be a number, got \[1\.0, 1\.0\]'),
        ([], ValueError, r'class_weight must hold one number per class, got \[\].*None'),
        (2.0, TypeError, r'class_weight must be one number per class .* got 2\.0'),
        (
            np.array(2.0),
            TypeError,
            r'class_weight must be one number per class .* got 2\.0',
        ),
        (torch.ones(2, device='meta'), TypeError, 'dense tensor with values, .* on meta'),
        (torch.ones(2).to_sparse(), TypeError, 'dense tensor with values, got torch.sparse_coo'),
        ([0, 1e-60], ValueError, 'class_weight must be above 0 for one class at least'),
        ([0, 0.0], ValueError, 'class_weight must be above 0 for one class at least'),
        ({0: 1.0}, TypeError, r'class_weight must be one number per class .* got \{0: 1\.0\}'),
    ],
)
def test_what_is_no_class_weight_is_named(value, error, message):
    with pytest.raises(error, match=message):
        load_class_weight(value)


@pytest.mark.parametrize('name', ['missing.npy', 'missing.json', 'weights', 'weights.txt'])
def test_a_file_that_cannot_be_read_is_named_with_the_formats(name, tmp_path):
    path = tmp_path / name
    if name.startswith('weights'):
        path.write_text('1 2 3')
    expected = re.escape(f'class_weight={str(path)!r} cannot be read')
    with pytest.raises(ValueError, match=rf'{expected} .*\.npy, \.json, \.yaml or \.pkl'):
        load_class_weight(str(path))


def test_an_array_of_objects_runs_nothing(tmp_path):
    np.save(tmp_path / 'objects.npy', np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r'cannot be read.*allow_pickle'):
        load_class_weight(tmp_path / 'objects.npy')


def test_a_file_of_something_else_is_named_with_what_it_holds(tmp_path):
    path = tmp_path / 'weights.json'
    path.write_text('{"road": 1.0}')
    with pytest.raises(TypeError, match=r"weights\.json, which holds \{'road': 1\.0\}"):
        load_class_weight(path)
