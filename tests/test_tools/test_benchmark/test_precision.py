"""The tool that sets float32 statistics of regions beside float64."""

import json
import sys

from tools.benchmark import precision


def test_errors_are_tabulated_and_written(monkeypatch, tmp_path, capsys):

    out = tmp_path / 'folder' / 'precision.json'
    options = ['--sizes', '33', '--regions', '1', '2', '--contrasts', '1', '4', '--rounds', '1']
    monkeypatch.setattr(sys, 'argv', ['precision', *options, '--out', str(out)])
    precision.main()

    printed = capsys.readouterr().out
    assert 'error of the value in float32' in printed
    assert 'error of the gradient in float32' in printed
    records = json.loads(out.read_text())['records']
    assert [(record['size'], record['region']) for record in records] == [(33, 1), (33, 2)]
    for record in records:
        assert all(seconds > 0 for seconds in record['seconds'])
        for value, gradient in (*record['exact'], *record['inverted']):
            assert value < 1e-5
            assert 0 < gradient < 1e-4  # not the same numbers, but close
