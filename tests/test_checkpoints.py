"""Checkpoints load as on both lines, and none runs code."""

import argparse
import functools
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner, checkpoint
from torch import Tensor, nn

from helpers.killed_training import Points, Regression
from mmseg_rmi import checkpoints


def build_runner(work_dir: Path, max_iters: int, resume: bool = False) -> Runner:
    return Runner(
        Regression(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Points(), batch_size=2, sampler=dict(type='InfiniteSampler', shuffle=True)
        ),
        train_cfg=dict(by_epoch=False, max_iters=max_iters),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3, momentum=0.9)),
        param_scheduler=dict(type='PolyLR', by_epoch=False, end=6),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=3)),
        default_scope='mmseg',
        experiment_name=f'{work_dir.name}_{max_iters}_{resume}',
        resume=resume,
    )


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work dir with the checkpoint of a run of three iterations."""
    work_dir = tmp_path_factory.mktemp('genuine')
    runner = build_runner(work_dir, max_iters=3)
    runner.message_hub.update_info('best_score', np.float32(35))
    runner.train()
    return work_dir


@pytest.fixture
def safe_loading() -> None:
    """Switch on what our tools do."""
    checkpoints.load_checkpoints_safely()


class Reduced:
    """An object that a checkpoint stores as a call."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


def test_importing_the_plugin_lets_torch_load_training_state(work_dir: Path) -> None:
    state = torch.load(work_dir / 'iter_3.pth', weights_only=True)['message_hub']
    history = state['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert len(history.data[0]) == 3
    assert history.statistics('mean') == pytest.approx(np.mean(history.data[0]))
    assert state['runtime_info']['best_score'] == np.float32(35)


@pytest.mark.usefixtures('safe_loading')
def test_interrupted_run_resumes_under_safe_loading(work_dir: Path) -> None:
    runner = build_runner(work_dir, max_iters=6, resume=True)
    runner.train()
    assert runner.iter == 6
    assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 6


def rename_numpy_core(path: Path, renamed: Path) -> None:
    """Write the checkpoint as the other generation of numpy names its functions."""
    other = b'numpy.core' if hasattr(np, '_core') else b'numpy._core'
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(renamed, 'w') as target:
        for entry in source.namelist():
            data = source.read(entry)
            if entry.endswith('data.pkl'):
                assert other not in data
                own = b'numpy._core' if other == b'numpy.core' else b'numpy.core'
                data = data.replace(b'c' + own, b'c' + other)
                assert other in data
            target.writestr(entry, data)


def test_training_state_loads_across_numpy_generations(work_dir: Path, tmp_path: Path) -> None:
    rename_numpy_core(work_dir / 'iter_3.pth', tmp_path / 'renamed.pth')
    state = torch.load(tmp_path / 'renamed.pth', weights_only=True)['message_hub']
    assert len(state['log_scalars']['train/loss'].data[0]) == 3


@pytest.fixture
def harmful(tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint that writes a file when it is unpickled, and that file."""
    path, trace = tmp_path / 'harmful.pth', tmp_path / 'trace'
    torch.save({'state_dict': {}, 'meta': Reduced(open, str(trace), 'w')}, path)
    with pytest.MonkeyPatch.context() as unsafe:
        unsafe.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)
        torch.load(path, weights_only=False)['meta'].close()
    trace.unlink()  # it was there, so the checkpoint is harmful
    return path, trace


@pytest.mark.usefixtures('safe_loading')
def test_harmful_checkpoint_is_refused_before_anything_runs(harmful: tuple[Path, Path]) -> None:
    path, trace = harmful
    with pytest.raises(UnpicklingError, match=rf'Refused to load {path}: it holds \w+\.open,'):
        checkpoint.load_checkpoint(Regression(), str(path))
    assert not trace.exists()


def holding_namespace(key: str | None) -> Any:
    """A checkpoint as other programs write them: arguments beside the weights, or a whole model."""
    weights = Regression().state_dict()
    if key is None:
        return {**weights, 'args': argparse.Namespace(lr=0.1)}
    return {key: weights, 'args': argparse.Namespace(lr=0.1)}


@pytest.mark.usefixtures('safe_loading')
@pytest.mark.parametrize(
    'content',
    [
        holding_namespace('state_dict'),
        holding_namespace('model'),
        holding_namespace(None),
        {'model': nn.Linear(2, 1)},
        nn.Linear(2, 1),
    ],
    ids=['state_dict', 'model', 'flat', 'model in a dict', 'whole model'],
)
def test_the_remedy_of_a_refusal_gives_weights_that_load(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "it's foreign.pth"
    torch.save(content, path)
    with pytest.raises(UnpicklingError, match='neither a tensor') as refusal:
        checkpoint.load_checkpoint(Regression(), str(path))
    remedy = str(refusal.value).partition('weights alone with ')[2]
    assert remedy.startswith('python -c ')
    code = shlex.split(remedy)[2]
    with pytest.MonkeyPatch.context() as users_shell:
        users_shell.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD')
        exec(code, {})
    loaded = checkpoint.load_checkpoint(Regression(), str(path.with_stem(f'{path.stem}_weights')))
    assert sorted(tuple(each.shape) for each in loaded['state_dict'].values()) == [(1,), (1, 2)]


def loads_of(source: str, folder: Path) -> Iterator[Callable[[], Any]]:
    """Each way to load a checkpoint: to test, to resume from, to begin with, and to pretrain."""
    yield lambda: checkpoint.load_checkpoint(Regression(), source)
    for resume in (True, False):
        runner = build_runner(folder / f'{folder.name}_{resume}', max_iters=6)
        runner._load_from, runner._resume = source, resume
        yield runner.train
    pretrained = Regression()
    pretrained.init_cfg = dict(type='Pretrained', checkpoint=source)
    yield pretrained.init_weights


@pytest.mark.usefixtures('safe_loading')
@pytest.mark.parametrize('part', ['empty', 'half', 'text', 'spoilt', 'tail lost', 'tail of zeros'])
def test_what_is_no_whole_checkpoint_is_told_wherever_it_is_loaded(
    part: str, work_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / 'iter_3.pth'
    whole = (work_dir / 'iter_3.pth').read_bytes()
    middle = len(whole) // 2
    parts = {
        'empty': b'',
        'half': whole[:middle],
        'text': b'<html>',
        'spoilt': whole[:middle] + bytes(500) + whole[middle + 500 :],
        'tail lost': whole[:-200],
        'tail of zeros': whole[:middle] + bytes(len(whole) - middle),
    }
    path.write_bytes(parts[part])
    told = rf'iter_3\.pth is not a whole checkpoint \({path.stat().st_size} bytes\)'
    for load in loads_of(str(path), tmp_path):
        with pytest.raises(ValueError, match=told):
            load()


@pytest.mark.usefixtures('safe_loading')
def test_a_weight_that_changed_on_the_disk_is_told_wherever_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / 'iter_3.pth'
    state = {name: torch.full_like(each, 7.5) for name, each in Regression().state_dict().items()}
    torch.save({'state_dict': state}, path)
    value = torch.tensor(7.5).numpy().tobytes()
    path.write_bytes(path.read_bytes().replace(value, torch.tensor(9.5).numpy().tobytes(), 1))
    for load in loads_of(str(path), tmp_path):
        with pytest.raises(ValueError, match=r'iter_3\.pth is not a whole checkpoint'):
            load()


@pytest.fixture
def old_format(tmp_path: Path) -> Path:
    """A checkpoint as torch wrote it before 1.6."""
    path = tmp_path / 'old.pth'
    torch.save(Regression().state_dict(), path, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.usefixtures('safe_loading')
def test_a_checkpoint_of_the_old_format_is_told_wherever_it_is_cut(old_format: Path) -> None:
    whole = old_format.read_bytes()
    cuts = [whole[:place] for place in range(0, len(whole), 5)]
    causes = set()
    for content in [*cuts, b'hello\n', b'Not Found']:
        old_format.write_bytes(content)
        with pytest.raises((ValueError, UnpicklingError), match=re.escape(str(old_format))) as told:
            checkpoint.CheckpointLoader.load_checkpoint(str(old_format), 'cpu')
        causes.add(type(told.value.__cause__))
    assert {EOFError, IndexError, KeyError, struct.error} <= causes


@pytest.mark.usefixtures('safe_loading')
def test_a_spoilt_byte_of_the_old_format_is_told_unless_it_loads(old_format: Path) -> None:
    whole, told = old_format.read_bytes(), []
    for place in range(0, 300, 5):
        old_format.write_bytes(whole[:place] + b'\xff' + whole[place + 1 :])
        try:
            checkpoint.CheckpointLoader.load_checkpoint(str(old_format), 'cpu')
        except (ValueError, UnpicklingError) as error:
            told.append(str(error))
    assert told
    assert all(str(old_format) in each for each in told)


def save_old_list(path: Path) -> None:
    torch.save([1, 2], path, _use_new_zipfile_serialization=False)


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('notes.txt', 'no weights')


@pytest.mark.usefixtures('safe_loading')
@pytest.mark.parametrize(
    ('write', 'told'),
    [
        (lambda path: torch.save([1, 2], path), 'holds a list and no state dict'),
        (lambda path: torch.save(torch.zeros(1), path), 'holds a Tensor and no state dict'),
        (lambda path: torch.save({'state_dict': 3}, path), 'holds a int and no state dict'),
        (save_old_list, 'holds a list and no state dict'),
        (write_zip, 'is a ZIP file, but no checkpoint'),
        (lambda path: zipfile.ZipFile(path, 'w').close(), 'is not a whole checkpoint'),
        (Path.mkdir, 'is a folder: name the checkpoint'),
        (lambda path: path.write_bytes(bytes(8) + b'{"a":'), 'must end in .safetensors'),
    ],
    ids=['list', 'tensor', 'number', 'old list', 'zip', 'empty zip', 'folder', 'safetensors'],
)
def test_what_holds_no_weights_is_told_wherever_it_is_loaded(
    write: Callable[[Path], Any], told: str, tmp_path: Path
) -> None:
    path = tmp_path / 'iter_3.pth'
    write(path)
    for load in loads_of(str(path), tmp_path):
        with pytest.raises(ValueError, match=rf'iter_3\.pth .*{told}'):
            load()


@pytest.mark.usefixtures('safe_loading')
def test_a_cut_checkpoint_below_home_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'cut.pth').touch()
    monkeypatch.setenv('HOME', str(tmp_path))
    with pytest.raises(ValueError, match=rf'{tmp_path}/cut\.pth is not a whole checkpoint \(0 byt'):
        checkpoint.load_checkpoint(Regression(), '~/cut.pth')


@pytest.mark.usefixtures('safe_loading')
@pytest.mark.parametrize(
    ('source', 'close'),
    [
        ('torchvision://resnet5', 'resnet50'),
        ('open-mmlab://resnet50_v1', 'resnet50_v1c'),
        ('mmcls://vgg', 'vgg1'),
        ('torchvision://?', 'alexnet'),
    ],
)
def test_a_name_without_weights_is_told_with_those_that_have_some(source: str, close: str) -> None:
    checkpoints.load_checkpoints_safely()  # a second time, as each runner does
    name = re.escape(source.partition('://')[2])
    with pytest.raises(ValueError, match=f"no weights named '{name}': name others, .*{close}"):
        checkpoint.load_checkpoint(Regression(), source)


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a server of what lies below ``tmp_path / 'served'``."""
    (tmp_path / 'served').mkdir()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path / 'served'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures('safe_loading')
def test_a_checkpoint_at_an_address_loads(address: str, work_dir: Path, tmp_path: Path) -> None:
    shutil.copy(work_dir / 'iter_3.pth', tmp_path / 'served')
    for load in loads_of(f'{address}/iter_3.pth', tmp_path):
        load()


@pytest.mark.usefixtures('safe_loading')
def test_a_checkpoint_at_an_address_is_refused_as_a_local_one(
    address: str, harmful: tuple[Path, Path], tmp_path: Path
) -> None:
    path, trace = harmful
    path.rename(tmp_path / 'served' / 'harmful.pth')
    cached = tmp_path / 'cache' / 'hub' / 'checkpoints' / 'harmful.pth'
    for load in loads_of(f'{address}/harmful.pth', tmp_path):
        with pytest.raises(UnpicklingError, match=rf'Refused to load {cached}: it holds \w+\.open'):
            load()
    assert not trace.exists()


@pytest.mark.usefixtures('safe_loading')
def test_a_download_without_weights_is_told(address: str, tmp_path: Path) -> None:
    save_old_list(tmp_path / 'served' / 'list.pth')
    for load in loads_of(f'{address}/list.pth', tmp_path):
        with pytest.raises(ValueError, match=r'list\.pth holds a list and no state dict'):
            load()


@pytest.mark.usefixtures('safe_loading')
def test_a_cut_download_is_told_with_the_file_to_delete(address: str, tmp_path: Path) -> None:
    (tmp_path / 'served' / 'cut.pth').write_bytes(b'PK')
    for load in loads_of(f'{address}/cut.pth', tmp_path):
        with pytest.raises(
            ValueError, match=r'cut\.pth is not a whole checkpoint.*: delete it, and'
        ):
            load()


@pytest.mark.usefixtures('safe_loading')
def test_a_missing_download_is_told_with_the_place_for_the_file(
    address: str, work_dir: Path, tmp_path: Path
) -> None:
    url = f'{address}/gone.pth'
    for load in loads_of(url, tmp_path):
        with pytest.raises(
            OSError, match=rf'{url} cannot be downloaded .*404.* put it at '
        ) as error:
            load()
    place = Path(str(error.value).partition('put it at ')[2])
    shutil.copy(work_dir / 'iter_3.pth', place)
    checkpoint.load_checkpoint(Regression(), url)


@pytest.mark.usefixtures('safe_loading')
def test_refusal_does_not_depend_on_the_loader(harmful: tuple[Path, Path]) -> None:
    path, trace = harmful
    with pytest.raises(UnpicklingError):
        torch.load(path, weights_only=False)
    assert not trace.exists()


@pytest.mark.usefixtures('safe_loading')
def test_subprocesses_refuse_as_well(harmful: tuple[Path, Path]) -> None:
    path, trace = harmful
    code = f'import torch; torch.load({str(path)!r}, weights_only=False)'
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'UnpicklingError' in result.stderr
    assert not trace.exists()


@pytest.mark.usefixtures('safe_loading')
@pytest.mark.parametrize(
    ('owner', 'name'),
    [(HistoryBuffer, '__init__'), (np.ndarray, 'tofile'), (Tensor, '__reduce_ex__')],
)
def test_checkpoint_reaches_no_attribute_but_history_statistics(
    owner: type, name: str, tmp_path: Path
) -> None:
    path = tmp_path / 'probing.pth'
    torch.save({'state_dict': {}, 'meta': Reduced(getattr, owner, name)}, path)
    with pytest.raises(UnpicklingError, match=r'it holds builtins\.getattr'):
        checkpoint.load_checkpoint(Regression(), str(path))


def test_torch_that_cannot_refuse_is_left_alone_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)
    monkeypatch.setattr(torch, '__version__', '2.1.2+cu118')
    with pytest.warns(UserWarning, match=r'torch 2\.1\.2\+cu118 runs whatever code'):
        checkpoints.load_checkpoints_safely()
    assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ
