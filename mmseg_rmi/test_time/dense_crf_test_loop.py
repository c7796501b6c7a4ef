"""A test loop that refines predictions by a dense CRF, in parallel with the network."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, NamedTuple

import mmcv
import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.fileio import get
from mmengine.runner import TestLoop
from mmengine.runner.amp import autocast
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import LOOPS
from mmseg.structures import SegDataSample
from rich.progress import track
from torch import nn

from mmseg_rmi.test_time.dense_crf import DenseCRF
from mmseg_rmi.test_time.probabilities import (
    Activation,
    final_head,
    resolve_activation,
    to_distribution,
)
from mmseg_rmi.utils.checks import check_integer


class Prediction(NamedTuple):
    """The inputs of a worker process, which refines the label map of one image."""

    distribution: np.ndarray  # C x H x W
    img_path: str
    threshold: float | None  # of the foreground, in a binary map


class PendingBatch(NamedTuple):
    """A batch that the network has predicted, on the CPU."""

    batch_idx: int
    data_batch: Any
    samples: list[SegDataSample]
    labels: list[Future[np.ndarray]]


@LOOPS.register_module()
class DenseCRFTestLoop(TestLoop):
    """Test with a dense CRF after the network, as the paper's "CE & CRF".

    One line switches it on, for any segmentor and any of its checkpoints:
    ``test_cfg = dict(type='DenseCRFTestLoop', iterations=10)`` in a config, or on the command line
    ``tools/test.py CONFIG CHECKPOINT --cfg-options test_cfg.type=DenseCRFTestLoop``. It replaces
    ``pred_sem_seg``, with the size and the pixels of the image file; ``seg_logits`` stay those of
    the network. The predicted probabilities are those that the head was trained for, softmax or
    sigmoids. (Sigmoids are divided by their sum, which makes no difference to a CRF.)

    The CRF of an image runs in a worker process while the network predicts the next images. Results
    keep the order of the data set, and a bar shows the progress. The processes of a distributed
    test by torchrun share the CPUs of a machine; Slurm gives each its own. Workers start as those
    of data loaders do, by the ``mp_start_method`` of the config's ``env_cfg``; with ``'spawn'`` or
    ``'forkserver'``, each first imports MMSegmentation.

    Args:
        runner: the runner.
        dataloader: the data loader, or its config.
        evaluator: the evaluator, or its config.
        fp16: run the network under autocast.
        activation: ``'sigmoid'`` or ``'softmax'``; None infers it from the losses of the head.
        num_workers: worker processes; None takes as many as this process has CPUs.
        **crf: settings of :class:`mmseg_rmi.test_time.DenseCRF`.

    Raises:
        ImportError: pydensecrf is not installed; says how to install it.
        ValueError: a setting is invalid, or the model is a ``SegTTAModel``, which does not pass on
            its mean probabilities.

    Example:
        >>> test_cfg = dict(type='DenseCRFTestLoop', iterations=5)
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        evaluator: Any,
        fp16: bool = False,
        activation: Activation | None = None,
        num_workers: int | None = None,
        **crf: Any,
    ) -> None:
        self.crf = DenseCRF(**crf)
        self.num_workers = _cpus_of_this_process() if num_workers is None else num_workers
        check_integer('num_workers', self.num_workers, 1)
        _check_fusion(runner.model)
        self.activation = resolve_activation(activation, runner.model)
        super().__init__(runner, dataloader, evaluator, fp16)

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        """Test, and return the metrics."""
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.runner.model.eval()
        with self._start_workers() as pool:
            for batch in track(
                self._refined_batches(pool),
                description='Dense CRF',
                total=len(self.dataloader),
                disable=not is_main_process(),
            ):
                self.evaluator.process(data_samples=batch.samples, data_batch=batch.data_batch)
                self.runner.call_hook(
                    'after_test_iter',
                    batch_idx=batch.batch_idx,
                    data_batch=batch.data_batch,
                    outputs=batch.samples,
                )
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        self.runner.call_hook('after_test_epoch', metrics=metrics)
        self.runner.call_hook('after_test')
        return metrics

    def _start_workers(self) -> ProcessPoolExecutor:
        """Start all workers before the threads of the data loader and of the progress bar.

        By default workers are forks, in which a lock that a thread held at that moment stays shut.
        """
        pool = ProcessPoolExecutor(self.num_workers)
        pool.submit(os.getpid).result()
        return pool

    def _refined_batches(self, pool: ProcessPoolExecutor) -> Iterator[PendingBatch]:
        """Keep the network just far enough ahead of the CRF that no worker waits for it."""
        pending: deque[PendingBatch] = deque()
        for index, data_batch in enumerate(self.dataloader):
            pending.append(self._predict(index, data_batch, pool))
            if len(pending) > self.num_workers:
                yield _replace_labels(pending.popleft())
        while pending:
            yield _replace_labels(pending.popleft())

    def _predict(self, index: int, data_batch: Any, pool: ProcessPoolExecutor) -> PendingBatch:
        self.runner.call_hook('before_test_iter', batch_idx=index, data_batch=data_batch)
        with autocast(enabled=self.fp16):
            samples = self.runner.model.test_step(data_batch)
        futures = [pool.submit(refine, self.crf, self._collect(sample)) for sample in samples]
        # Waiting predictions of high resolution would fill the memory of a GPU.
        return PendingBatch(index, data_batch, [sample.cpu() for sample in samples], futures)

    def _collect(self, sample: SegDataSample) -> Prediction:
        if 'img_path' not in sample:
            raise ValueError(
                'a dense CRF reads the original image, and a prediction has no img_path: keep it '
                'in the test pipeline, as PackSegInputs does with its default meta_keys'
            )
        seg_logits = sample.seg_logits.data.float()
        return Prediction(
            to_distribution(seg_logits, self.activation).cpu().numpy(),
            sample.img_path,
            final_head(self.runner.model).threshold if len(seg_logits) == 1 else None,
        )


def refine(crf: DenseCRF, prediction: Prediction) -> np.ndarray:
    """Read the image of a prediction and return the label map, ``1 x H x W``, by the CRF."""
    image = mmcv.imfrombytes(get(prediction.img_path), channel_order='rgb')
    posterior = crf(prediction.distribution, image)
    if prediction.threshold is None:
        return posterior.argmax(0)[None]
    return (posterior[1:] > prediction.threshold).astype(np.int64)


def _replace_labels(batch: PendingBatch) -> PendingBatch:
    for sample, labels in zip(batch.samples, batch.labels, strict=True):
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(labels.result()))
    return batch


def _check_fusion(model: nn.Module) -> None:
    if any(isinstance(module, SegTTAModel) for module in model.modules()):  # wrapped or not
        raise ValueError(
            'SegTTAModel passes on a label map without the mean probabilities that the dense CRF '
            "refines: set tta_model=dict(type='ProbabilityTTAModel')"
        )


def _cpus_of_this_process() -> int:
    affinity = getattr(os, 'sched_getaffinity', None)  # less than the machine has, under Slurm
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cpus // int(os.environ.get('LOCAL_WORLD_SIZE', 1)))
