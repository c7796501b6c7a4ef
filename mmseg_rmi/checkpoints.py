"""Load checkpoints without running code in them, and explain why one cannot be loaded.

mmengine is imported inside functions only, after :mod:`mmseg_rmi.compat` has found a line of it.
"""

import difflib
import errno
import json
import os
import re
import shlex
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import torch

from mmseg_rmi import compat


def allow_training_state() -> None:
    """Let ``torch.load`` accept the training state that mmengine writes into checkpoints."""
    if _torch_restricts_unpickling():
        torch.serialization.add_safe_globals(
            [(known, name) for name, known in training_state_globals().items()]
        )


def training_state_globals() -> dict[str, Callable[..., Any]]:
    """Map the names of globals that a checkpoint may use to the objects they stand for.

    Besides tensors and plain containers these are mmengine's history buffers, and the NumPy arrays
    and scalars (boolean, integer and floating point) in them and in the message hub. A history
    buffer also refers to its statistics through ``builtins.getattr``, by which a crafted file could
    reach any attribute of any object; it is replaced by a function that returns these statistics
    only.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer

    dtypes = {type(np.dtype(code)) for code in '?bBhHiIlLqQefd'}
    reconstruct, scalar = np.zeros(1).__reduce__()[0], np.float64().__reduce__()[0]
    return {
        'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
        'builtins.getattr': _history_statistic,
        'numpy.ndarray': np.ndarray,
        'numpy.dtype': np.dtype,
        **{f'{dtype.__module__}.{dtype.__qualname__}': dtype for dtype in dtypes},
        'numpy.core.multiarray._reconstruct': reconstruct,  # numpy 1
        'numpy.core.multiarray.scalar': scalar,
        'numpy._core.multiarray._reconstruct': reconstruct,  # numpy 2
        'numpy._core.multiarray.scalar': scalar,
    }


def load_checkpoints_safely() -> None:
    """Refuse to unpickle more than :func:`training_state_globals`, here and in subprocesses.

    For programs, not for libraries: it affects the whole process. A checkpoint, local or remote,
    that contains anything else is refused with an UnpicklingError that names the file and the
    object, before any of its code runs. Before torch 2.6 this is impossible, and a warning says so.
    """
    if not _torch_restricts_unpickling():
        warnings.warn(
            f'torch {torch.__version__} runs whatever code a checkpoint holds (2.6 and later can '
            'refuse it): load only checkpoints from sources that you trust.',
            stacklevel=2,
        )
        return
    from mmengine.runner import checkpoint

    os.environ.pop('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', None)
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    compat.load_by_torch_alone()
    checkpoint.CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    checkpoint.load_url = load_from_url
    for name in ('get_torchvision_models', 'get_external_models', 'get_mmcls_models'):
        find = getattr(checkpoint, name)
        if not isinstance(find, partial):  # of an earlier call
            setattr(checkpoint, name, partial(_find_models, find))


class _Models(dict):
    """Addresses of models by their names, which suggests similar ones for an unknown one."""

    def __missing__(self, name: str) -> str:
        close = difflib.get_close_matches(name, self) or sorted(self)[:3]
        raise ValueError(
            f'MMEngine has no weights named {name!r}: name others, such as {", ".join(close)}, or '
            'a file'
        )


def _find_models(find: Callable[[], dict[str, str]]) -> _Models:
    return _Models(find())


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Load a local checkpoint as mmengine does, or say what is wrong with it and what to do.

    Raises:
        UnpicklingError: it contains more than tensors and training state.
        ValueError: it is empty, truncated, or not a checkpoint.
    """
    from mmengine.runner import checkpoint

    filename = str(Path(filename).expanduser())
    if Path(filename).is_dir():
        raise ValueError(f'{filename} is a folder: name the checkpoint, a file, in it')
    with _explaining_refusals(
        filename, 'get it again. tools/train.py --resume takes the newest whole one of a run'
    ):
        content = checkpoint.load_from_local(filename, map_location)
        _refuse_damage(filename)
    return _with_entries(content, filename)


def load_from_url(
    url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True
) -> Any:
    """Download a checkpoint unless it is in torch's cache, and load it as :func:`load_from_local`.

    Raises:
        OSError: it cannot be downloaded; says where to put the file by hand.
        UnpicklingError: it contains more than tensors and training state.
        ValueError: the file is empty, truncated, or not a checkpoint.
    """
    folder = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints'))
    cached = folder / Path(urlparse(url).path).name
    try:
        with _explaining_refusals(str(cached), f'delete it, and {url} is downloaded again'):
            content = torch.hub.load_state_dict_from_url(url, model_dir, map_location, progress)
            _refuse_damage(cached)
    except URLError as error:
        raise OSError(
            f'{url} cannot be downloaded ({error}): check the address, or fetch it elsewhere and '
            f'put it at {cached}'
        ) from error
    return _with_entries(content, str(cached))


@contextmanager
def _explaining_refusals(filename: str, remedy: str) -> Iterator[None]:
    """Explain why torch.load refuses a checkpoint: what it contains, or that it is truncated."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # bytes that are no checkpoint may raise any
        # torch's reader of archives gets EINVAL where it seeks for the end of some truncated ones.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        if not Path(filename).is_file():  # but a URL, say, that could not be read
            raise
        if isinstance(error, UnpicklingError) and _is_complete(filename, error):
            found = re.search(r'GLOBAL (\S+)', str(error))
            raise UnpicklingError(
                f'Refused to load {filename}: it holds {found[1] if found else "an object"}, which '
                'is neither a tensor nor training state that mmengine writes. Loading it could run '
                'code, and nothing of it was run. If you trust its author, save its weights alone '
                f'with {extract_weights_command(filename)}'
            ) from error
        if _is_complete(filename, error):
            if any(word in str(error) for word in ('archive', 'PytorchStreamReader')):
                raise ValueError(
                    f'{filename} is a ZIP file, but no checkpoint: {remedy}'
                ) from error
            raise  # something else is wrong, perhaps too little memory
        if _is_safetensors(filename):
            remedy = 'it looks like safetensors, whose files must end in .safetensors'
        raise ValueError(
            f'{filename} is not a whole checkpoint ({Path(filename).stat().st_size} bytes), as an '
            f'interrupted save, copy or download leaves it: {remedy}'
        ) from error


def is_whole_archive(path: str | Path) -> bool:
    """Tell whether a checkpoint as torch writes it, a ZIP file, has all its bytes unharmed."""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(archive.namelist()) and archive.testzip() is None
    except Exception:  # damaged headers raise more than BadZipFile
        return False


def _refuse_damage(filename: str | Path) -> None:
    """Raise if bytes in a checkpoint have changed since it was saved, which torch.load ignores."""
    if zipfile.is_zipfile(filename) and not is_whole_archive(filename):
        raise ValueError(f'{filename} is damaged')


def _with_entries(content: Any, filename: str) -> dict[str, Any]:
    """Return the content of a checkpoint if that has names, as a state dict has."""
    weights = content.get('state_dict', content) if isinstance(content, dict) else content
    if isinstance(weights, dict):
        return content
    raise ValueError(
        f'{filename} holds a {type(weights).__name__} and no state dict: save one, '
        "torch.save({'state_dict': model.state_dict()}, PATH)"
    )


def extract_weights_command(filename: str) -> str:
    """Return a command that extracts the weights of a checkpoint whose author you trust.

    It runs any code in the file. The file may contain a whole model, a state dict, or a dict with
    one as ``state_dict`` or ``model``.
    """
    weights = json.dumps(f'{Path(filename).with_suffix("")}_weights.pth')
    code = (
        f'import torch; c = torch.load({json.dumps(filename)}, "cpu", weights_only=False); '
        'c = c.get("state_dict", c.get("model", c)) if isinstance(c, dict) else c; '
        'c = c if isinstance(c, dict) else c.state_dict(); '
        'c = {k: v for k, v in c.items() if torch.is_tensor(v)}; '
        f'torch.save({{"state_dict": c}}, {weights})'
    )
    return f'python -c {shlex.quote(code)}'


def _is_complete(filename: str, error: Exception) -> bool:
    """Tell whether a file is complete; in torch's old format, if it failed on a refused object."""
    return is_whole_archive(filename) or 'GLOBAL' in str(error)


def _is_safetensors(filename: str) -> bool:
    """Tell whether a file begins as safetensors do: the length of a header, which is JSON."""
    with Path(filename).open('rb') as file:
        return file.read(9)[8:] == b'{'


def _torch_restricts_unpickling() -> bool:
    """Tell whether torch.load is restricted by default and allows globals by name (torch 2.6)."""
    major, minor = torch.__version__.split('.')[:2]
    return (int(major), int(minor)) >= (2, 6)


def _history_statistic(owner: type, name: str) -> Callable[..., Any]:
    """Return a statistic of mmengine's history buffers, and refuse any other ``getattr``."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in ('current', 'max', 'mean', 'min'):
        raise UnpicklingError(f'GLOBAL builtins.getattr asks for {name!r} of {owner!r}')
    return getattr(HistoryBuffer, name)
