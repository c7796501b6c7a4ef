"""Arguments, configuration and runner of ``tools/train.py`` and ``tools/test.py``."""

import argparse
import fcntl
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.device import get_device
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from mmseg.registry import HOOKS, RUNNERS

from mmseg_rmi import checkpoints
from mmseg_rmi.hooks import CheckProcessesHook, CheckWeightsHook, ResumedValidationHook
from mmseg_rmi.resume import find_other_folders
from mmseg_rmi.utils.command_line import (
    add_debug_argument,
    end_at_once_by_signals,
    setting,
    user_path,
)
from mmseg_rmi.utils.config_types import find_class

# Where a launcher that is not torchrun keeps what torch.distributed reads from the environment.
RANK_VARIABLES = {
    'pytorch': {},
    'slurm': {'RANK': 'SLURM_PROCID', 'LOCAL_RANK': 'SLURM_LOCALID', 'WORLD_SIZE': 'SLURM_NTASKS'},
    'mpi': {
        'RANK': 'OMPI_COMM_WORLD_RANK',
        'LOCAL_RANK': 'OMPI_COMM_WORLD_LOCAL_RANK',
        'WORLD_SIZE': 'OMPI_COMM_WORLD_SIZE',
    },
}
STAGES = ('train', 'val', 'test')
DEFAULTED = ('env_cfg', 'log_level', 'randomness')  # may be absent for MMEngine, but not None
# Hooks that MMEngine has by itself, which None switches off; it refuses None for any other.
OWN_HOOKS = ('checkpoint', 'logger', 'param_scheduler', 'runtime_info', 'sampler_seed', 'timer')
# What MMEngine needs each setting to be, and does not check.
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(('custom_imports', 'default_hooks', 'model', 'optim_wrapper'), (dict,)),
    **dict.fromkeys(('env_cfg', 'randomness', 'tta_model', 'visualizer'), (dict,)),
    **{f'{stage}_{part}': (dict,) for stage in STAGES for part in ('cfg', 'dataloader')},
    **{f'{stage}_evaluator': (dict, list) for stage in STAGES[1:]},
    **dict.fromkeys(('custom_hooks', 'tta_pipeline'), (list, tuple)),
    'param_scheduler': (dict, list, tuple),
}
SYNCHRONISED_NORMS = ('SyncBN', 'MMSyncBN', 'SyncBatchNorm')


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that training and testing have in common."""
    parser.add_argument('--work-dir', help='folder of logs, checkpoints and results')
    add_config_options(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', *RANK_VARIABLES],
        default='none',
        help='what started the processes of a distributed run',
    )
    add_debug_argument(parser)
    # Older launchers pass it; torchrun sets the environment variable instead.
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Declare ``--cfg-options``, by which the command line overrides a config."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        type=setting,
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='settings that override the config, e.g. train_cfg.max_iters=10 '
        'model.decode_head.dilations="(1,6,12,18)"; no blanks within one setting',
    )


def load_config(path: str | Path, name: str | None = None, **settings: Any) -> Config:
    """Read a config file, or say which one cannot be read.

    Args:
        path: of the file.
        name: by which an error calls it; the path by default.
        settings: as of ``mmengine.config.Config.fromfile``.

    Raises:
        ValueError: MMEngine can make no config of it.
        OSError: there is no such file.
    """
    try:
        return Config.fromfile(path, **settings)
    except (ImportError, OSError):
        raise
    except Exception as error:  # whatever a parser or a statement of the config may raise
        raise ValueError(
            f'{name or path}, or a base of it, cannot be read as a config '
            f'({type(error).__name__}: {error}): correct it, and try it with '
            'mmengine.Config.fromfile'
        ) from error


def read_config(args: argparse.Namespace) -> Config:
    """Read the config named on the command line and apply the common arguments to it."""
    _check_launcher(args.launcher)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = load_config(args.config)
    cfg.merge_from_dict(args.cfg_options)
    _check_kinds(cfg)
    if any(key.partition('.')[0] == 'custom_imports' for key in args.cfg_options):
        import_modules_from_strings(**(cfg.custom_imports or {'imports': None}))
    for name in DEFAULTED:
        if cfg.get(name, '') is None:
            cfg.pop(name)
    hooks = cfg.get('default_hooks') or {}
    for name in [each for each in hooks if hooks[each] is None and each not in OWN_HOOKS]:
        del hooks[name]
    cfg.launcher = args.launcher
    folder = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    cfg.work_dir = str(user_path(folder))
    return cfg


def _check_kinds(cfg: Config) -> None:
    """Raise a ValueError that names a setting which is not of the kind that MMEngine needs."""
    settings = [(name, cfg.get(name), kinds) for name, kinds in KINDS.items()]
    hooks = cfg.get('default_hooks')
    if isinstance(hooks, dict):
        settings += [(f'default_hooks.{name}', hooks[name], (dict, Hook)) for name in hooks]
    for name, value, kinds in settings:
        if value is not None and not isinstance(value, kinds):
            raise ValueError(
                f'{name} is {value!r}: expected {" or ".join(kind.__name__ for kind in kinds)}'
            )


def _check_launcher(launcher: str) -> None:
    """Raise a ValueError unless the launcher has started this process."""
    needed = RANK_VARIABLES.get(launcher, {})
    if launcher == 'pytorch':
        needed = {name: name for name in ('RANK', 'WORLD_SIZE')}
    missing = [name for name in needed.values() if name not in os.environ]
    if missing:
        start = {'pytorch': 'torchrun', 'slurm': 'srun', 'mpi': 'mpirun'}[launcher]
        raise ValueError(
            f'--launcher {launcher} needs {", ".join(missing)} in the environment, which {start} '
            'sets: start the tool by it, or leave out --launcher'
        )


def require_settings(cfg: Config, *names: str) -> None:
    """Raise a ValueError that names the settings which a config lacks, or has as None."""
    missing = [name for name in names if cfg.get(name) is None]
    if missing:
        raise ValueError(
            f'{cfg.filename} has no {" and no ".join(missing)}: take a config that has all of '
            f'{", ".join(names)}, or set them'
        )


def build_runner(cfg: Config, notes: Iterable[str] = ()) -> Runner:
    """Build the runner; on a machine without an accelerator, first make the config fit for it.

    Args:
        cfg: The config of the run.
        notes: What its log shall begin with.
    """
    checkpoints.load_checkpoints_safely()
    if cfg.launcher != 'none':
        end_at_once_by_signals()
    notes = [*notes, *(fall_back_to_cpu(cfg) if get_device() == 'cpu' else [])]
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if isinstance(runner, Runner):  # others may load weights in parts
        runner.register_hook(CheckWeightsHook())
        runner.register_hook(ResumedValidationHook())
        if runner.distributed:
            runner.register_hook(CheckProcessesHook())
    for note in notes:
        runner.logger.info(note)
    return runner


def save_atomically(cfg: Config) -> None:
    """Let the config save checkpoints by AtomicCheckpointHook where it says CheckpointHook."""
    replace_default_hook(
        cfg, 'checkpoint', CheckpointHook, 'mmseg.AtomicCheckpointHook', interval=1
    )


def replace_default_hook(
    cfg: Config, name: str, kind: type[Hook], ours: str, **settings: Any
) -> None:
    """Let a class of ours take the place of one of MMEngine's default hooks.

    Args:
        cfg: the config; a hook of another class, or None for no hook, stays as it is.
        name: of the hook in ``default_hooks``.
        kind: MMEngine's class.
        ours: name of the class that takes its place.
        settings: of the hook that MMEngine adds where the config has none.
    """
    if cfg.get('default_hooks') is None:
        cfg.default_hooks = ConfigDict()
    hook = cfg.default_hooks.setdefault(name, ConfigDict(type=kind, **settings))
    if isinstance(hook, dict) and find_class(hook.get('type'), HOOKS) is kind:
        hook['type'] = ours


@contextmanager
def exclusive(cfg: Config) -> Iterator[None]:
    """Keep the folders of a training for it while it runs, in the first of its processes.

    What a killed one was writing there is deleted.

    Raises:
        ValueError: another training has one of them, or nothing can be written to it.
    """
    rank = RANK_VARIABLES.get(cfg.launcher, {}).get('RANK', 'RANK')
    with ExitStack() as locks:
        if cfg.launcher == 'none' or os.environ.get(rank, '0') == '0':
            for folder in (Path(cfg.work_dir), *find_other_folders(cfg)):
                locks.enter_context(_locked(folder))
                for partial in folder.glob('*.pth.partial'):
                    partial.unlink()
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / '.lock').open('a+')
    except OSError as error:
        raise ValueError(
            f'nothing can be written to the work dir {folder} ({_explain(error)}): name another '
            'one with --work-dir'
        ) from error
    with file as lock:
        try:
            # Of this process alone: workers of one that was killed do not keep the lock.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            lock.seek(0)
            raise ValueError(
                f'another training ({lock.read().strip()}) is at work in {folder}: wait for its '
                'end, or give this one another --work-dir'
            ) from error
        except OSError:  # a file system without locks
            pass
        lock.truncate(0)
        lock.write(f'process {os.getpid()} on {socket.gethostname()}')
        lock.flush()
        yield


def _explain(error: OSError) -> str | None:
    """Say why there is no folder."""
    if not isinstance(error, FileExistsError):
        return error.strerror
    leads_nowhere = Path(error.filename).is_symlink()
    return f'{error.filename} is a {"link that leads nowhere" if leads_nowhere else "file"}'


def forget_training(cfg: Config) -> None:
    """Build nothing for training: what only tests need neither its data nor its optimizer.

    MMEngine writes the config to the work dir; from now on beside that of the training.
    """
    for name in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        cfg[name] = None
    if cfg.filename is not None:
        path = Path(cfg.filename)
        object.__setattr__(cfg, '_filename', str(path.with_name(f'test_{path.name}')))


def fall_back_to_cpu(cfg: Config) -> list[str]:
    """Replace what needs a GPU, in place, and return one log line for each replacement.

    Synchronised batch normalisation becomes plain, NCCL becomes gloo.
    """
    notes = []
    if _replace_synchronised_norms(cfg.model):
        notes.append('No GPU: plain BN takes the place of SyncBN.')
    if cfg.get('sync_bn') is not None:
        cfg.sync_bn = None
        notes.append('No GPU: sync_bn switched off.')
    if cfg.launcher != 'none':
        _join_gloo_group(cfg)
        notes.append('No GPU: distributed over gloo on CPUs.')
    return notes


def _replace_synchronised_norms(node: Any) -> bool:
    """Turn every ``dict(type='SyncBN')`` below ``node`` into plain BN; tell if there was one."""
    children = []
    if isinstance(node, dict):
        children = list(node.values())
    elif isinstance(node, (list, tuple)):
        children = list(node)
    found = [_replace_synchronised_norms(child) for child in children]
    kind = node.get('type') if isinstance(node, dict) else None
    if getattr(kind, '__name__', str(kind)).rpartition('.')[2] in SYNCHRONISED_NORMS:
        node['type'] = 'BN'
        found.append(True)
    return any(found)


def _join_gloo_group(cfg: Config) -> None:
    """Start the process group; mmengine's own start selects a CUDA device whatever the backend."""
    for name, source in RANK_VARIABLES[cfg.launcher].items():
        os.environ[name] = os.environ[source]
    if int(os.environ.get('SLURM_NNODES', 1)) > 1 and 'MASTER_ADDR' not in os.environ:
        raise ValueError('on several nodes without GPUs, set MASTER_ADDR to the name of the first')
    os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
    os.environ.setdefault('MASTER_PORT', '29500')
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    timeout = timedelta(seconds=cfg.env_cfg.dist_cfg.get('timeout', 1800))
    torch.distributed.init_process_group('gloo', timeout=timeout)
    # DistributedDataParallel takes no device ids for a model in main memory.
    cfg.model_wrapper_cfg = {
        'type': 'MMDistributedDataParallel',
        'broadcast_buffers': False,
        'find_unused_parameters': cfg.get('find_unused_parameters', False),
        **(cfg.get('model_wrapper_cfg') or {}),
        'device_ids': None,
    }
