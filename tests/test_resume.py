"""Runs that end early go on from the newest whole checkpoint, and as the same training."""

import contextlib
import errno
import itertools
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing import forkserver

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook

from helpers.killed_training import ITERATIONS, KILLED_AT, train, train_and_die
from helpers.tool_runs import TIMEOUT, config, load_tool
from mmseg_rmi import launch, resume
from mmseg_rmi.checkpoints import is_whole_archive

MOMENTS = (
    'first iteration',
    'writing',
    'renaming',
    'renamed',
    'noting the last',
    'removing',
    'validating',
    'writing the best',
    'last iteration',
)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@pytest.fixture(scope='module')
def processes():
    """Processes that fork from one which has imported all it needs."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['helpers.killed_training'])
    with pytest.MonkeyPatch.context() as environment:  # the server does not inherit sys.path
        environment.setenv('PYTHONPATH', os.pathsep.join(sys.path))
        forkserver.ensure_running()
    return context


def weights(work_dir):
    """Those at the end, and their running averages."""
    saved = torch.load(work_dir / f'iter_{ITERATIONS}.pth', weights_only=True)
    averages = {f'average of {name}': each for name, each in saved['ema_state_dict'].items()}
    return saved['state_dict'] | averages


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('undisturbed')
    train(work_dir)
    return weights(work_dir)


@pytest.mark.parametrize('number', SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize('moment', MOMENTS)
def test_a_killed_run_loses_nothing(processes, undisturbed, tmp_path, moment, number):
    killed = processes.Process(target=train_and_die, args=(tmp_path, moment, number))
    killed.start()
    killed.join(timeout=120)
    assert killed.exitcode == (1 if number == signal.SIGINT else -number)
    newest, _ = resume.find_newest_checkpoint(tmp_path)
    assert (newest is None) == (moment == 'first iteration')

    assert train(tmp_path, resuming=True).iter == ITERATIONS
    resumed = weights(tmp_path)
    assert [name for name in undisturbed if not torch.equal(resumed[name], undisturbed[name])] == []
    (best,) = tmp_path.glob('best_largest_iter_*.pth')
    assert best.name == f'best_largest_iter_{KILLED_AT}.pth'
    assert is_whole_archive(best)


class Stop(Hook):
    """Raise an error in the last validation, or after the first, of which the best was saved."""

    def __init__(self, validating: bool) -> None:
        self.validating = validating

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if self.validating and runner.iter == ITERATIONS:
            raise RuntimeError('stopped')

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if not self.validating and runner.iter == KILLED_AT + 1:
            raise RuntimeError('stopped')


class Count(Hook):
    validations = 0

    def after_val_epoch(self, runner, metrics=None):
        self.validations += 1


@pytest.mark.parametrize('epochs', [False, True])
@pytest.mark.parametrize('validating', [False, True])
def test_a_resumed_run_makes_the_last_validation_and_no_other_again(tmp_path, validating, epochs):
    with pytest.raises(RuntimeError, match='stopped'):
        train(tmp_path, Stop(validating), epochs=epochs)
    count = Count()
    train(tmp_path, count, epochs=epochs, resuming=True)
    assert count.validations == 1


def test_a_clock_that_jumps_changes_nothing(undisturbed, tmp_path, monkeypatch):
    jumps = itertools.cycle([0, -86_400, 1e6, -3600])
    monkeypatch.setattr(time, 'time', lambda now=time.time: now() + next(jumps))
    train(tmp_path)
    jumped = weights(tmp_path)
    assert [name for name in undisturbed if not torch.equal(jumped[name], undisturbed[name])] == []


def test_a_full_disk_costs_neither_the_checkpoint_before_nor_leaves_a_part(tmp_path, monkeypatch):
    put, saves = LocalBackend.put, []

    def fill_up(self, obj, filepath):
        saves.append(filepath)
        if len(saves) == 2:
            put(self, obj[:100], filepath)
            raise OSError(errno.ENOSPC, 'No space left on device')
        put(self, obj, filepath)

    monkeypatch.setattr(LocalBackend, 'put', fill_up)
    told = r'No space left on device for a checkpoint of \d+ bytes, .* with --resume: .*iter_4\.pth'
    with pytest.raises(OSError, match=told):
        train(tmp_path)
    assert [path.name for path in tmp_path.glob('iter_*')] == ['iter_2.pth']
    assert train(tmp_path, resuming=True).iter == ITERATIONS
    assert [path.name for path in tmp_path.glob('iter_*')] == [f'iter_{ITERATIONS}.pth']


def work_dir_with(tmp_path, **contents):
    """A work dir with checkpoints of two iterations, whole or cut."""
    trained = train(tmp_path / 'source').work_dir
    whole = (tmp_path / 'source' / f'iter_{ITERATIONS}.pth').read_bytes()
    assert trained
    folder = tmp_path / 'run'
    folder.mkdir()
    for name, share in contents.items():
        (folder / f'{name}.pth').write_bytes(whole[: int(share * len(whole))])
    return folder


def resumed_from(folder):
    cfg = Config(dict(work_dir=str(folder)))
    return resume.resume_from_newest(cfg), cfg


@pytest.mark.parametrize('last', [b'', b'iter_20.pth', b'gone/iter_30.pth', b'\0\0', b'\xff'])
def test_a_cut_checkpoint_is_passed_over_and_named(tmp_path, last):
    folder = work_dir_with(tmp_path, iter_10=1, iter_9=1, iter_20=0.5, iter_21=0, best_mIoU_30=1)
    (folder / 'last_checkpoint').write_bytes(last and bytes(folder) + b'/' + last)
    notes, cfg = resumed_from(folder)
    assert cfg.load_from == str(folder / 'iter_10.pth')
    assert cfg.resume
    assert 'iter_21.pth (0 bytes), iter_20.pth (' in notes[0]


@pytest.mark.parametrize(
    ('last', 'chosen'),
    [
        ('iter_4', 'iter_6'),  # 6 was saved, and the process killed before that was noted
        ('iter_6', 'iter_6'),
        ('iter_10', 'iter_80'),  # cut, so that it cannot tell which are of its training
        ('gone', 'iter_80'),
    ],
)
def test_checkpoints_of_an_earlier_training_in_the_folder_are_left_alone(tmp_path, last, chosen):
    folder = work_dir_with(tmp_path, iter_80=1, iter_90=0, iter_10=0.5, iter_4=1, iter_6=1)
    for second, name in enumerate(('iter_80', 'iter_90', 'iter_10', 'iter_4', 'iter_6')):
        os.utime(folder / f'{name}.pth', (second, second))
    (folder / 'last_checkpoint').write_text(f'{folder}/{last}.pth')
    notes, cfg = resumed_from(folder)
    assert cfg.load_from == f'{folder}/{chosen}.pth'
    assert any('iter_90.pth (0 bytes)' in note for note in notes) == (chosen == 'iter_80')


def test_a_checkpoint_spoilt_inside_is_passed_over(tmp_path):
    folder = work_dir_with(tmp_path, iter_10=1, iter_20=1)
    spoilt = bytearray((folder / 'iter_20.pth').read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    (folder / 'iter_20.pth').write_bytes(spoilt)
    (folder / 'iter_30.pth').symlink_to('iter_30.pth')
    (folder / 'iter_40.pth').symlink_to('moved.pth')
    notes, cfg = resumed_from(folder)
    assert cfg.load_from == str(folder / 'iter_10.pth')
    assert 'iter_40.pth (9 bytes), iter_30.pth (11 bytes), iter_20.pth (' in notes[0]


@pytest.mark.parametrize(('last', 'chosen'), [(1, 'epoch_3'), (0.5, 'iter_20')])
def test_epochs_and_iterations_are_compared_by_what_was_trained(tmp_path, last, chosen):
    for name, iteration in dict(iter_10=10, epoch_2=16, iter_20=20, epoch_3=24).items():
        torch.save({'meta': {'iter': iteration}}, tmp_path / f'{name}.pth')
    newest = tmp_path / 'epoch_3.pth'
    newest.write_bytes(newest.read_bytes()[: int(last * newest.stat().st_size)])
    for path in tmp_path.iterdir():  # as a clock that jumps would have them
        os.utime(path, (0, -int(path.stem.rpartition('_')[2])))
    found, _ = resume.find_newest_checkpoint(tmp_path)
    assert found.stem == chosen


def test_without_a_whole_checkpoint_the_cut_ones_are_named(tmp_path):
    folder = work_dir_with(tmp_path, iter_20=0.5)
    with pytest.raises(ValueError, match=r'no checkpoint in .* is whole \(iter_20\.pth .*--resume'):
        resumed_from(folder)


def test_without_any_checkpoint_the_run_starts_and_says_so(tmp_path):
    notes, cfg = resumed_from(tmp_path)
    assert not cfg.resume
    assert 'starts at the beginning' in notes[0]


@pytest.mark.parametrize(
    ('settings', 'resumed', 'said'),
    [
        (dict(load_from='a.pth', resume=True), True, 'resuming from a.pth, as the config says'),
        (dict(load_from='a.pth', resume=False), False, 'starts with the weights of a.pth'),
        (dict(load_from=None, resume=True), False, 'starts at the beginning'),
    ],
)
def test_without_any_checkpoint_load_from_keeps_its_meaning(tmp_path, settings, resumed, said):
    cfg = Config(dict(work_dir=str(tmp_path), **settings))
    (note,) = resume.resume_from_newest(cfg)
    assert said in note
    assert (cfg.resume, cfg.load_from) == (resumed, settings['load_from'])


def trained_with(folder, loss):
    """A work dir whose checkpoint says that it was trained with this loss."""
    text = Config(dict(model=dict(decode_head=dict(type='PSPHead', loss_decode=loss)))).pretty_text
    torch.save({'meta': {'cfg': text}, 'state_dict': {}}, folder / 'iter_4.pth')


def now_with(folder, loss):
    head = dict(type='RMIPSPHead', loss_decode=loss)
    return Config(dict(work_dir=str(folder), model=dict(decode_head=head)))


@pytest.mark.parametrize('before', ['CrossEntropyLoss', 'mmseg.AffinityFieldLoss'])
def test_the_checkpoint_of_another_loss_is_refused(tmp_path, before):
    trained_with(tmp_path, dict(type=before))
    name = before.rpartition('.')[2]
    with pytest.raises(
        ValueError, match=f'trained with {name}, the config has RMILoss: .*load_from'
    ):
        resume.resume_from_newest(now_with(tmp_path, dict(type='RMILoss')))


def test_other_settings_of_the_same_loss_are_told(tmp_path):
    trained_with(tmp_path, dict(type='mmseg.RMILoss', region_size=3, class_weight=(1.0, 2.0)))
    cfg = now_with(tmp_path, dict(type='RMILoss', region_size=5, class_weight=[1.0, 2.0]))
    (note,) = resume.resume_from_newest(cfg)
    assert note.startswith('model.decode_head.loss_decode.region_size is 5, and was 3 in ')


SCHEDULE = dict(type='PolyLR', end=8, by_epoch=False)


@pytest.mark.parametrize(
    ('changes', 'told'),
    [
        ({}, []),
        ({'param_scheduler': [dict(SCHEDULE, end=16)]}, ["'end': 16", "'end': 8"]),
        ({'param_scheduler': None}, ['param_scheduler is None', "'end': 8"]),
        (
            {'optim_wrapper.optimizer.lr': 0.1},
            ["'lr': 0.1", "'lr': 0.5", 'optim_wrapper.optimizer'],
        ),
        (
            {'optim_wrapper.paramwise_cfg': dict(bias_lr_mult=2.0)},
            ["{'bias_lr_mult': 2.0}", 'None'],
        ),
        ({'optim_wrapper.clip_grad': dict(max_norm=1)}, []),  # which the config decides on
    ],
)
def test_what_stays_as_it_was_in_the_checkpoint_is_told(tmp_path, changes, told):
    cfg = Config(
        dict(
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.5, betas=(0.9, 0.99))),
            param_scheduler=[SCHEDULE],
        )
    )
    torch.save({'meta': {'cfg': cfg.pretty_text}}, tmp_path / 'iter_4.pth')
    cfg.merge_from_dict(dict(changes, work_dir=str(tmp_path)))
    notes = resume.resume_from_newest(cfg)
    assert len(notes) == bool(told)
    for part in [*told, f'load_from={tmp_path}/iter_4.pth'] if told else []:
        assert part in notes[0]


def test_checkpoints_outside_of_the_work_dir_are_found(tmp_path):
    work_dir, elsewhere = tmp_path / 'run', tmp_path / 'scratch'
    for folder in (work_dir, elsewhere / 'run', elsewhere / 'another'):
        folder.mkdir(parents=True)
    for path in ('run/iter_2.pth', 'another/iter_8.pth'):
        torch.save({}, elsewhere / path)
    (elsewhere / 'run' / 'iter_4.pth').write_text('cut')
    (work_dir / 'last_checkpoint').write_text(f'{elsewhere}/run/iter_4.pth')
    hooks = dict(checkpoint=dict(type='CheckpointHook', out_dir=f'{elsewhere}'))
    cfg = Config(dict(work_dir=f'{work_dir}/', default_hooks=hooks))
    notes = resume.resume_from_newest(cfg)
    assert cfg.load_from == f'{elsewhere}/run/iter_2.pth'
    assert 'iter_4.pth (3 bytes)' in notes[0]


def test_nothing_of_a_checkpoints_config_is_run(tmp_path):
    torch.save(
        {'meta': {'cfg': f'model = open({str(tmp_path / "trace")!r}, "w")'}}, tmp_path / 'a.pth'
    )
    assert resume.read_config(tmp_path / 'a.pth')['model'].startswith('open(')
    assert not (tmp_path / 'trace').exists()


def lock_and_say_so(cfg, said, worker):
    with launch.exclusive(cfg):
        if not worker or os.fork() == 0:  # as workers of a data loader are
            said.send(os.getpid())
        time.sleep(TIMEOUT)


@contextlib.contextmanager
def locked(cfg, worker=False):
    """Another process that has the folders of a training, or a worker of it, if that is asked."""
    context = multiprocessing.get_context('fork')
    said, saying = context.Pipe()
    training = context.Process(target=lock_and_say_so, args=(cfg, saying, worker))
    training.start()
    saying.close()  # so that the death of the other is heard
    pid = training.pid
    try:
        assert said.poll(TIMEOUT), 'it does not get the folders'
        pid = said.recv()
        yield training
    finally:
        os.kill(pid, signal.SIGKILL)
        training.kill()
        training.join()


def test_a_second_training_in_a_folder_refuses(tmp_path, monkeypatch):
    train_tool = load_tool('train.py')
    monkeypatch.setattr(sys, 'argv', ['train.py', config('rmi'), '--work-dir', str(tmp_path)])
    cfg = Config(dict(work_dir=str(tmp_path), launcher='none'))
    with (
        locked(cfg) as other,
        pytest.raises(
            ValueError, match=rf'another training \(process {other.pid} on .*\) is at wo'
        ),
    ):
        train_tool.main()
    with launch.exclusive(cfg):
        pass  # it is free again


def test_a_second_training_that_saves_to_the_same_folder_refuses(tmp_path):
    hooks = dict(checkpoint=dict(out_dir=str(tmp_path / 'scratch')))
    one, other = (
        Config(dict(work_dir=str(tmp_path / name / 'run'), launcher='none', default_hooks=hooks))
        for name in 'ab'
    )
    with (
        locked(one),
        pytest.raises(ValueError, match=f'is at work in {tmp_path}/scratch/run: '),
        launch.exclusive(other),
    ):
        pass


def test_what_a_killed_training_leaves_is_in_nobodys_way(tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path), launcher='none'))
    (tmp_path / 'best_mIoU_iter_2.pth.partial').touch()
    (tmp_path / 'iter_2.pth').touch()
    with locked(cfg, worker=True) as training:
        training.kill()
        training.join()
        with launch.exclusive(cfg):
            assert [path.name for path in tmp_path.glob('*.pth*')] == ['iter_2.pth']


def test_resume_in_a_config_is_an_order_to_resume(tmp_path, monkeypatch):
    trained_with(tmp_path, dict(type='CrossEntropyLoss'))
    train_tool = load_tool('train.py')
    options = ['--work-dir', str(tmp_path), '--cfg-options', 'resume=True']
    monkeypatch.setattr(sys, 'argv', ['train.py', config('rmi'), *options])
    with pytest.raises(ValueError, match='trained with CrossEntropyLoss, the config has RMILoss'):
        train_tool.main()


@pytest.mark.parametrize('hooks', [dict(), dict(checkpoint=dict(type='mmengine.CheckpointHook'))])
def test_training_saves_atomically(hooks):
    cfg = Config(dict(default_hooks=hooks))
    launch.save_atomically(cfg)
    assert cfg.default_hooks.checkpoint.type == 'mmseg.AtomicCheckpointHook'


@pytest.mark.parametrize('hook', [None, dict(type='MyCheckpointHook')])
def test_another_way_to_save_is_left_alone(hook):
    cfg = Config(dict(default_hooks=dict(checkpoint=hook)))
    launch.save_atomically(cfg)
    assert cfg.default_hooks.checkpoint == hook
