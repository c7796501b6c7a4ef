"""Scores against counts made by hand, and pictures by their pixels."""

import math

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from helpers.tool_runs import load_tool
from mmseg_rmi.datasets.camvid import PALETTE

report = load_tool('demo_report.py')
SKY, BUILDING, POLE, ROAD, VOID = 0, 1, 2, 3, 11


@pytest.fixture
def pairs(tmp_path):
    """Two images: 6 of 8 labelled pixels are road, a quarter of all is unlabelled."""
    labels = [[[ROAD, ROAD], [SKY, VOID]], [[ROAD, ROAD], [ROAD, ROAD]], [[POLE, VOID], [VOID] * 2]]
    files = []
    for number, label in enumerate(labels):
        image, truth = (tmp_path / f'{kind}_{number}.png' for kind in ('image', 'label'))
        Image.fromarray(np.full((2, 2, 3), 40 * number, np.uint8)).save(image)
        Image.fromarray(np.array(label, np.uint8)).save(truth)
        files.append((image, truth))
    return files


@pytest.fixture
def predictions(pairs, tmp_path):
    folder = tmp_path / 'predictions'
    folder.mkdir()
    answers = [[[ROAD, SKY], [SKY, SKY]], [[ROAD] * 2] * 2, [[ROAD, POLE], [POLE, POLE]]]
    for (image, _), answer in zip(pairs, answers, strict=True):
        Image.fromarray(np.array(answer, np.uint8)).save(folder / f'{image.stem}.png')
    return folder


def test_scores_equal_those_counted_by_hand(pairs, predictions):
    scores = report.score_predictions(pairs, predictions)
    # sky: 1 hit, 1 false alarm; road: 5 hits, 1 miss, 1 false alarm; pole: 1 miss.
    assert scores.iou[SKY] == pytest.approx(100 * 1 / 2)
    assert scores.iou[ROAD] == pytest.approx(100 * 5 / 7)
    assert scores.iou[POLE] == 0
    assert math.isnan(scores.iou[BUILDING])
    assert scores.mean_iou == pytest.approx(100 * (1 / 2 + 5 / 7 + 0) / 3)
    assert scores.pixel_accuracy == pytest.approx(100 * 6 / 8)


def test_the_majority_baseline_answers_the_commonest_training_class(pairs):
    name, scores = report.score_majority(train=pairs[:1], val=pairs)
    assert name == 'road'
    assert scores.iou[ROAD] == pytest.approx(100 * 6 / 8)
    assert scores.mean_iou == pytest.approx(100 * 6 / 8 / 3)


def test_unlabelled_pixels_are_no_majority(pairs):
    name, _ = report.score_majority(train=pairs[2:], val=pairs)
    assert name == 'pole'


def test_the_better_model_stands_out(pairs, predictions):
    good = report.score_predictions(pairs, predictions)
    _, poor = report.score_majority(pairs[2:], pairs)
    table = report.make_table({'baseline': poor, 'poor': poor, 'good': good})
    (column,) = [c for c in table.columns if c.header == 'good']
    assert list(column.cells)[-1] == '[bold]75.00[/]'
    console = Console(record=True, width=100)
    console.print(table)
    assert 'sign symbol' in console.export_text()


def test_the_picture_shows_truth_and_predictions_in_their_colours(pairs, predictions, tmp_path):
    out = tmp_path / 'picture.png'
    report.draw_comparison(pairs, {'CE': predictions, 'RMI': predictions}, out)
    colours = {tuple(c) for c in np.asarray(Image.open(out).convert('RGB')).reshape(-1, 3)}
    assert {tuple(PALETTE[label]) for label in (SKY, POLE, ROAD, VOID)} <= colours
