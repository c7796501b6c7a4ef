"""A test with a dense CRF behind the network, against pydensecrf fed by hand."""

import multiprocessing
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image
from torch import nn

from helpers.crf_oracle import posterior, sigmoid, softmax
from helpers.tiny_segmentor import build_runner, logits_of, segmentor, write_images, written
from mmseg_rmi.test_time import DenseCRFTestLoop

pytest.importorskip('pydensecrf', reason='needs pydensecrf2')
pytestmark = pytest.mark.usefixtures('mmseg_scope')

CE, RMI = dict(type='CrossEntropyLoss'), dict(type='RMILoss')
CRF = dict(type='DenseCRFTestLoop', iterations=5, num_workers=2)


def run(tmp_path, model, test_cfg=CRF, **settings):
    """Test; return the label maps, the network's logits, the image files and the metrics."""
    paths = write_images(tmp_path)
    runner = build_runner(tmp_path, model, test_cfg, **settings)
    metrics = runner.test()
    return written(tmp_path, paths), logits_of(runner), paths, metrics


@pytest.mark.parametrize(('loss', 'activation'), [(CE, softmax), (RMI, sigmoid)])
def test_labels_are_those_of_the_probabilities_that_the_head_was_trained_to_give(
    tmp_path, loss, activation
):
    found, logits, paths, _ = run(tmp_path, segmentor(loss, 4))
    for labels, scores, path in zip(found, logits, paths, strict=True):
        np.testing.assert_array_equal(labels, posterior(activation(scores), path, 5).argmax(0))


def test_the_two_kinds_of_probabilities_differ_and_so_do_their_labels(tmp_path):
    found, logits, paths, _ = run(tmp_path, segmentor(RMI, 4), dict(CRF, activation='softmax'))
    for labels, scores, path in zip(found, logits, paths, strict=True):
        np.testing.assert_array_equal(labels, posterior(softmax(scores), path, 5).argmax(0))
    by_sigmoid = [
        posterior(sigmoid(scores), path, 5).argmax(0)
        for scores, path in zip(logits, paths, strict=True)
    ]
    assert any((a != b).any() for a, b in zip(found, by_sigmoid, strict=True))


def test_the_posterior_of_a_binary_map_meets_the_threshold_of_the_head(tmp_path):
    found, foreground, paths, _ = run(tmp_path, segmentor(RMI, 1))
    for labels, p, path in zip(found, foreground, paths, strict=True):
        expected = posterior(np.concatenate([1 - p, p]).astype(np.float64), path, 5)[1] > 0.4
        np.testing.assert_array_equal(labels, expected)


def test_the_crf_changes_labels_and_the_metrics_see_them(tmp_path):
    found, logits, paths, metrics = run(tmp_path, segmentor(CE, 4))
    assert any((a != b.argmax(0)).any() for a, b in zip(found, logits, strict=True))
    truth = [np.asarray(Image.open(tmp_path / 'labels' / path.name)) for path in paths]
    correct = sum((a == b).sum() for a, b in zip(found, truth, strict=True))
    assert metrics['aAcc'] == pytest.approx(100 * correct / sum(map(np.size, truth)), abs=0.01)


@pytest.mark.parametrize('num_workers', [1, 9])
def test_the_number_of_workers_changes_nothing(tmp_path, num_workers):
    found, logits, paths, _ = run(tmp_path, segmentor(CE, 4), dict(CRF, num_workers=num_workers))
    for labels, scores, path in zip(found, logits, paths, strict=True):
        np.testing.assert_array_equal(labels, posterior(softmax(scores), path, 5).argmax(0))


def test_predictions_wait_on_the_cpu(tmp_path, monkeypatch):
    moved, cpu = [], SegDataSample.cpu
    monkeypatch.setattr(SegDataSample, 'cpu', lambda self: moved.append(self.img_path) or cpu(self))
    _, _, paths, _ = run(tmp_path, segmentor(CE, 4))
    assert moved == list(map(str, paths))


TWICE = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in (1.0, 1.5)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]


def test_fused_probabilities_are_refined(tmp_path):
    model = dict(type='ProbabilityTTAModel', module=segmentor(RMI, 4))
    paths = write_images(tmp_path)
    runner = build_runner(tmp_path, model, CRF, TWICE)
    runner.test()
    for batch, path, labels in zip(
        runner.test_dataloader, paths, written(tmp_path, paths), strict=True
    ):
        scores = [
            runner.model.module.test_step({key: value[k] for key, value in batch.items()})
            for k in range(2)
        ]
        mean = sum(sigmoid(each[0].seg_logits.data.detach().numpy()) for each in scores) / 2
        np.testing.assert_array_equal(labels, posterior(mean, path, 5).argmax(0))


def test_a_fusion_that_hides_its_mean_is_refused(tmp_path):
    model = dict(type='SegTTAModel', module=segmentor(CE, 4))
    write_images(tmp_path)
    with pytest.raises(ValueError, match=r"set tta_model=dict\(type='ProbabilityTTAModel'\)"):
        build_runner(tmp_path, model, CRF, TWICE).test()


def test_a_fusion_that_hides_its_mean_is_refused_behind_a_wrapper():
    wrapped = nn.Module()  # as MMDistributedDataParallel keeps it
    wrapped.module = MODELS.build(dict(type='SegTTAModel', module=ConfigDict(segmentor(CE, 4))))
    with pytest.raises(ValueError, match=r"set tta_model=dict\(type='ProbabilityTTAModel'\)"):
        DenseCRFTestLoop(SimpleNamespace(model=wrapped), None, None)


def test_a_prediction_without_a_path_is_refused(tmp_path):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs', meta_keys=('ori_shape', 'img_shape')),
    ]
    with pytest.raises(ValueError, match='a prediction has no img_path'):
        run(tmp_path, segmentor(CE, 4), pipeline=pipeline)


def test_what_fails_in_a_worker_fails_the_test(tmp_path):
    paths = write_images(tmp_path)
    runner = build_runner(tmp_path, segmentor(CE, 4), CRF)
    predict = runner.model.test_step

    def predict_and_shrink_the_file(batch):
        (sample,) = predict(batch)
        if Path(sample.img_path) == paths[0]:
            Image.new('RGB', (5, 6)).save(paths[0])
        return [sample]

    runner.model.test_step = predict_and_shrink_the_file
    with pytest.raises(ValueError, match=r'like the prediction, got shape \(6, 5, 3\)'):
        runner.test()


def test_workers_start_before_the_loader_and_its_threads(tmp_path, monkeypatch):
    """At every start of a worker, no thread runs but those that there were before the test."""
    write_images(tmp_path)
    runner = build_runner(tmp_path, segmentor(CE, 4), CRF)
    threads = set(threading.enumerate())
    start, others = multiprocessing.Process.start, []

    def start_and_note_threads(process):
        others.append(set(threading.enumerate()) - threads)
        start(process)

    def read_in_a_thread(data_loader):
        done = threading.Event()
        reader = threading.Thread(target=done.wait)
        reader.start()
        try:
            yield from batches
        finally:
            done.set()
            reader.join()

    batches = list(runner.test_dataloader)
    monkeypatch.setattr(multiprocessing.process.BaseProcess, 'start', start_and_note_threads)
    monkeypatch.setattr(type(runner.test_dataloader), '__iter__', read_in_a_thread)
    runner.test()
    assert others == [set()] * CRF['num_workers']


@pytest.mark.parametrize('num_workers', [0, -1])
def test_no_workers_are_refused(tmp_path, num_workers):
    write_images(tmp_path)
    with pytest.raises(ValueError, match='num_workers must be'):
        build_runner(tmp_path, segmentor(CE, 4), dict(CRF, num_workers=num_workers)).test()
