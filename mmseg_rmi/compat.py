"""All differences between the two lines of MMSegmentation, OneDL and OpenMMLab.

Both install modules of the same names (``mmseg``, ``mmengine``, ``mmcv``, ``mmpretrain``) from
distributions of different names. No other module asks which of them is installed. mmengine is
imported inside functions only, after a line has been found.
"""

import errno
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal
from urllib.error import URLError
from urllib.parse import urlparse

import torch

Line = Literal['OneDL', 'OpenMMLab']

_DISTRIBUTIONS: dict[Line, dict[str, str]] = {
    'OneDL': {
        'mmcv': 'onedl-mmcv',
        'mmengine': 'onedl-mmengine',
        'mmpretrain': 'onedl-mmpretrain',
        'mmseg': 'onedl-mmsegmentation',
    },
    'OpenMMLab': {
        'mmcv': 'mmcv',
        'mmengine': 'mmengine',
        'mmpretrain': 'mmpretrain',
        'mmseg': 'mmsegmentation',
    },
}


def prepare_framework() -> None:
    """Prepare the installed line of MMSegmentation; called before anything that needs it.

    Afterwards ``_base_ = 'mmseg::...'`` and ``'mmpretrain::...'`` resolve on both lines,
    ``torch.load`` accepts the training state that mmengine writes into checkpoints, and mmengine's
    ``activation_checkpointing`` keeps the gradients of modules that take or return lists.

    Raises:
        ImportError: no line of MMSegmentation is installed, or parts of both are.
    """
    line = find_line(_installed_distributions())
    _import_quietly()
    if line == 'OneDL':
        _resolve_scopes_to_onedl()
    elif importlib.util.find_spec('pkg_resources') is None:
        _explain_missing_pkg_resources()
    if _torch_restricts_unpickling():
        torch.serialization.add_safe_globals(
            [(known, name) for name, known in training_state_globals().items()]
        )
    _keep_gradients_of_lists()


def is_mmsegmentation_installed() -> bool:
    """Tell whether a package ``mmseg`` is installed, of either line, broken or not."""
    return importlib.util.find_spec('mmseg') is not None


def find_line(installed: Collection[str]) -> Line:
    """Find the line of MMSegmentation among the names of the installed distributions.

    Raises:
        ImportError: there is none, or there are parts of both; says which command repairs it.

    >>> find_line({'torch', 'mmcv', 'mmengine', 'mmsegmentation'})
    'OpenMMLab'
    """
    parts = {
        line: sorted(set(names.values()) & set(installed)) for line, names in _DISTRIBUTIONS.items()
    }
    if parts['OneDL'] and parts['OpenMMLab']:
        # MMSegmentation 1.2 refuses mmcv 2.2.
        again = ["'mmcv<2.2'" if name == 'mmcv' else name for name in parts['OpenMMLab']]
        raise ImportError(
            f'Parts of two lines of MMSegmentation are installed: {", ".join(parts["OpenMMLab"])} '
            f'(OpenMMLab) and {", ".join(parts["OneDL"])} (OneDL). They overwrite each other. '
            f'To keep OneDL: pip uninstall -y {" ".join(parts["OpenMMLab"])}; '
            f'pip install --force-reinstall --no-deps {" ".join(parts["OneDL"])}. '
            f'To keep OpenMMLab: pip uninstall -y {" ".join(parts["OneDL"])}; '
            "pip install 'setuptools<80' wheel; pip install --force-reinstall --no-deps "
            f'--no-build-isolation {" ".join(again)} (mmcv is compiled unless pip finds a wheel '
            'for your torch).'
        )
    for line, names in _DISTRIBUTIONS.items():
        if names['mmseg'] in parts[line]:
            return line
    raise ImportError(
        'MMSegmentation is not installed: found neither onedl-mmsegmentation nor mmsegmentation. '
        'The losses, the functions and the dense CRF work without it; decode heads, data sets, '
        'hooks and registered metrics do not. In a checkout of this project: pip install '
        "torchvision '.[onedl]' (maintained, nothing to compile) or, with an mmcv 2.1 built for "
        "your torch, '.[openmmlab]'; from a wheel: 'PATH/TO/THE.whl[onedl]'."
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
    if hasattr(checkpoint, '_safe_torch_load'):
        # OneDL's own loader allows the real getattr, and after a refusal loads without a check.
        checkpoint._safe_torch_load = torch.load
    checkpoint.CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    checkpoint.load_url = load_from_url


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
        filename, 'get it anew. tools/train.py --resume takes the newest whole one of a run'
    ):
        return _with_entries(checkpoint.load_from_local(filename, map_location), filename)


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
        with _explaining_refusals(str(cached), f'delete it, and {url} is downloaded anew'):
            content = torch.hub.load_state_dict_from_url(url, model_dir, map_location, progress)
            return _with_entries(content, str(cached))
    except URLError as error:
        raise OSError(
            f'{url} cannot be downloaded ({error}): check the address, or fetch it elsewhere and '
            f'put it at {cached}'
        ) from error


@contextmanager
def _explaining_refusals(filename: str, mend: str) -> Iterator[None]:
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
                raise ValueError(f'{filename} is a ZIP file, but no checkpoint: {mend}') from error
            raise  # something else is wrong, perhaps too little memory
        if _is_safetensors(filename):
            mend = 'it looks like safetensors, whose files must end in .safetensors'
        raise ValueError(
            f'{filename} is not a whole checkpoint ({Path(filename).stat().st_size} bytes), as an '
            f'interrupted save, copy or download leaves it: {mend}'
        ) from error


def is_whole_archive(path: str | Path) -> bool:
    """Tell whether a checkpoint as torch writes it, a ZIP file, has all its bytes unharmed."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # damaged headers raise more than BadZipFile
        return False


def _with_entries(content: Any, filename: str) -> dict[str, Any]:
    """Return the content of a checkpoint if that has names, as a state dict has."""
    if isinstance(content, dict):
        return content
    raise ValueError(
        f'{filename} holds a {type(content).__name__} and no state dict: save one, '
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


class ResumedBatches:
    """The endless iterator of mmengine's iteration-based loop, already at the right batch.

    On resume the loop asks for the batches that the run has trained on, only to drop them: one by
    one (OpenMMLab) or through ``skip_iter`` (OneDL). They are not loaded.

    Args:
        batches: the remaining batches.
        trained: number of batches that the run has trained on.
    """

    def __init__(self, batches: Iterable[Any], trained: int) -> None:
        self._batches = iter(batches)
        self._to_drop = trained

    def __iter__(self) -> 'ResumedBatches':
        return self

    def __next__(self) -> Any:
        if self._to_drop:
            self._to_drop -= 1
            return None
        return next(self._batches)

    def skip_iter(self, batches: int) -> None:
        """Drop ``batches`` batches that the run has trained on."""
        self._to_drop -= batches


def drops_trained_batches(loop: Any) -> bool:
    """Tell whether mmengine's iteration-based loop drops the batches trained on when it resumes.

    With OneDL, a config may ask it to start the data over.
    """
    return not getattr(loop, 'fast_forward_on_resume', False)


def _installed_distributions() -> set[str]:
    def is_installed(distribution: str) -> bool:
        try:
            importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            return False
        return True

    known = [name for names in _DISTRIBUTIONS.values() for name in names.values()]
    return set(filter(is_installed, known))


def _torch_restricts_unpickling() -> bool:
    """Tell whether torch.load is restricted by default and allows globals by name (torch 2.6)."""
    major, minor = torch.__version__.split('.')[:2]
    return (int(major), int(minor)) >= (2, 6)


def _import_quietly() -> None:
    """Import what announces, when it is imported, that optional parts are missing.

    OneDL prints a line for the client of its data platform, from two modules; an mmcv without
    compiled operators warns of an attention that few models use. Only these two are kept back, and
    only here: whoever imports the same modules first sees both.
    """
    import mmcv.cnn  # noqa: F401 (adds filters of its own, which must outlast the next block)
    from mmengine.logging import logger

    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention``')
        importlib.import_module('mmcv.cnn.bricks.transformer')
    logger.print = lambda line: None if line == 'Could not import OneDL' else print(line)
    try:
        importlib.import_module('mmseg.datasets')
    finally:
        del logger.print


def _resolve_scopes_to_onedl() -> None:
    from mmengine.config.utils import MODULE2PACKAGE

    for module in ('mmpretrain', 'mmseg'):
        MODULE2PACKAGE[module] = _DISTRIBUTIONS['OneDL'][module]


def _explain_missing_pkg_resources() -> None:
    """Let OpenMMLab's mmengine say what to install when a '::' base needs pkg_resources."""
    from mmengine.config import config

    def is_installed(package: str) -> bool:
        raise ModuleNotFoundError(
            f"Bases given as '<scope>::<config>' (here of {package}) need pkg_resources, which "
            "setuptools has dropped: pip install 'setuptools<82'",
            name='pkg_resources',
        )

    config.is_installed = is_installed


def _keep_gradients_of_lists() -> None:
    """Let mmengine recompute activations by torch's newer implementation of it.

    The older one sees tensors only: a decode head, whose input is a list, fails, and an ASPP, whose
    output is one, silently loses its gradients.
    """
    from mmengine.runner import activation_checkpointing
    from torch.utils.checkpoint import checkpoint

    activation_checkpointing.checkpoint = partial(checkpoint, use_reentrant=False)


def _history_statistic(owner: type, name: str) -> Callable[..., Any]:
    """Return a statistic of mmengine's history buffers, and refuse any other ``getattr``."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in ('current', 'max', 'mean', 'min'):
        raise UnpicklingError(f'GLOBAL builtins.getattr asks for {name!r} of {owner!r}')
    return getattr(HistoryBuffer, name)
