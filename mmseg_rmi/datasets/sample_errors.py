"""Errors in a data pipeline that name the files of the sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmcv.transforms import LoadAnnotations
from mmengine.dataset import Compose


class SampleError(ValueError):
    """A step of a pipeline failed for a sample; the message names its files."""


def name_files_in_errors() -> None:
    """Let every pipeline of MMEngine raise a :class:`SampleError` where a step fails.

    Decoders say that "an image is truncated", but not which. Of the classes that
    :class:`mmengine.dataset.Compose` is for, data sets alone know the files.
    """
    Compose.__call__ = _apply_all


def apply_step(step: Callable[[Any], Any], data: Any) -> Any:
    """Apply a step of a pipeline to a sample.

    Raises:
        SampleError: the step fails; says for which files, why and what to do.

    Example:
        >>> apply_step(lambda sample: sample['img'] / 2, dict(img_path='a.png', img='?'))
        Traceback (most recent call last):
        mmseg_rmi.datasets.sample_errors.SampleError: function fails for a.png (TypeError: ...
    """
    try:
        return step(data)
    except Exception as error:  # of any step and any decoder
        if isinstance(error, SampleError) or not _files(data):  # told within, or no sample
            raise
        raise SampleError(_explain(step, data, error)) from error


def _apply_all(self: Compose, data: Any) -> Any:
    for step in self.transforms:
        data = apply_step(step, data)
        if data is None:  # the data set takes another sample
            return None
    return data


def _explain(step: Any, data: Mapping[str, Any], error: Exception) -> str:
    if isinstance(error, FileNotFoundError) and error.filename:
        return (
            f'{error.filename} does not exist: correct the data_root, data_prefix, suffixes or '
            'ann_file of the data set, or copy the file there'
        )
    said = ': '.join(filter(None, (type(error).__name__, ' '.join(str(error).split()))))
    file = _file_to_read(step, data, error)
    if file is None:
        return (
            f'{type(step).__name__} fails for {" and ".join(_files(data))} ({said}): look at these '
            'files and at the settings of this step'
        )
    size = f'{Path(file).stat().st_size} bytes; ' if Path(file).is_file() else ''
    return (
        f'{file} cannot be read ({size}{said}): write or copy it again; tools/check_labels.py '
        'CONFIG lists all files of the training set that cannot be read'
    )


def _file_to_read(step: Any, data: Mapping[str, Any], error: Exception) -> str | None:
    """Return the file that a step could not read, unless it failed for another reason."""
    if 'img' not in data:
        return data.get('img_path')
    # It asserts that reduce_zero_label is that of the data set.
    reads = isinstance(step, LoadAnnotations) and not isinstance(error, AssertionError)
    return data.get('seg_map_path') if reads else None


def _files(data: Any) -> list[str]:
    names = ('img_path', 'seg_map_path') if isinstance(data, Mapping) else ()
    return [str(data[name]) for name in names if data.get(name)]
