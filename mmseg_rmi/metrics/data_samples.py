"""Maps and labels in the data samples that a segmentor returns."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmseg_rmi.utils.labels import describe_known_labels, unknown_labels


def read_truth(sample: dict[str, Any], num_classes: int, ignore_index: int) -> Tensor:
    """Read the true label map of an image: ``H x W``, int64.

    Raises:
        ValueError: there is none, or it holds a label that is neither a class nor ignored.
    """
    if 'gt_sem_seg' not in sample:
        raise ValueError(
            f'{_name(sample)} has no true label map: without labels in the data set, leave this '
            'metric out of the evaluators'
        )
    truth = sample['gt_sem_seg']['data'][0].long()
    unknown = unknown_labels(truth, num_classes, ignore_index)
    if unknown.any():
        raise ValueError(
            f'the labels of {_name(sample)} hold {int(truth[unknown][0])}: expected '
            f'{describe_known_labels(num_classes, ignore_index)}. Check reduce_zero_label and the '
            'label_map of the data set'
        )
    return truth


def read_map(sample: dict[str, Any], name: str, truth: Tensor) -> Tensor:
    """Read a map that the model predicts, ``channels x H x W``, on the device of the true labels.

    Raises:
        ValueError: it is missing, or its size is not that of the true labels.
    """
    if name not in sample:
        raise ValueError(f'{_name(sample)} has no {name!r}: the model returns {sorted(sample)}')
    found = sample[name]['data'].to(truth.device)
    if found.shape[-2:] != truth.shape:
        raise ValueError(
            f'{name} of {_name(sample)} is {tuple(found.shape[-2:])}, its true label map '
            f'{tuple(truth.shape)}: put LoadAnnotations after Resize in the test pipeline'
        )
    return found


def _name(sample: dict[str, Any]) -> str:
    return sample.get('img_path', 'a data sample')
