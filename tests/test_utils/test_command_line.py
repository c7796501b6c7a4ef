"""An error of a tool is one line and exit code 2; --debug shows where it comes from."""

import os
import signal
import subprocess
import sys

import pytest
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader, Dataset

from helpers.tool_runs import ROOT, TOOLS, finish, run, start
from mmseg_rmi.utils.command_line import run_tool


def end(monkeypatch, main, *arguments):
    """Exit code of a main function that is run with these arguments."""
    monkeypatch.setattr(sys, 'argv', ['tool', *arguments])
    with pytest.raises(SystemExit) as end:
        run_tool(main)
    return end.value.code


def fail(error):
    raise error


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        (ValueError('no\n  such  crop'), 'Error: no such crop'),
        (FileNotFoundError(2, 'No such file', 'a.py'), "Error: [Errno 2] No such file: 'a.py'"),
        (
            OSError(28, 'No space left on device'),  # as writing to a log says it, without a file
            'Error: [Errno 28] No space left on device: free some space and start again; '
            'a training goes on with --resume',
        ),
        (KeyError('MyHead is not registered'), 'KeyError: MyHead is not registered'),
        (TypeError('got 3'), 'TypeError: got 3'),
    ],
)
def test_an_error_is_one_line(monkeypatch, capsys, error, said):
    assert end(monkeypatch, lambda: fail(error)) == 2
    assert capsys.readouterr().err == f'{said} (--debug shows the traceback)\n'


def test_an_error_without_a_message_is_told_with_the_line_that_raised_it(monkeypatch, capsys):
    assert end(monkeypatch, lambda: fail(AssertionError())) == 2
    assert capsys.readouterr().err.startswith(f'AssertionError: raise error ({__file__}, line ')


class SecondFails(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index:
            raise UnicodeDecodeError('utf-8', b'', 0, 1, 'no such\ncharacter')
        return index


def test_an_error_of_a_worker_is_told_without_its_traceback(monkeypatch, capsys):
    assert end(monkeypatch, lambda: list(DataLoader(SecondFails(), num_workers=1))) == 2
    said = capsys.readouterr().err
    assert said.startswith('UnicodeDecodeError: ')
    assert 'no such' in said
    assert 'Traceback' not in said
    assert said.count('\n') == 1


def test_debug_lets_the_error_through_and_is_not_seen_by_the_tool(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tool', 'config.py', '--debug'])
    with pytest.raises(ValueError, match=r"\['tool', 'config.py'\]"):
        run_tool(lambda: fail(ValueError(sys.argv)))


@pytest.mark.parametrize(('returned', 'code'), [(None, None), (0, 0), (1, 1), (True, True)])
def test_what_main_returns_is_the_exit_code(monkeypatch, returned, code):
    assert end(monkeypatch, lambda: returned) == code


def test_ctrl_c_is_told_without_a_traceback(monkeypatch, capsys):
    assert end(monkeypatch, lambda: fail(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == 'Interrupted.\n'


def test_a_second_ctrl_c_ends_a_tool_that_is_ending(tmp_path):
    program = tmp_path / 'ends_slowly.py'
    program.write_text("""
import atexit, os, signal
from mmseg_rmi.utils.command_line import run_tool

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
atexit.register(os.kill, os.getpid(), signal.SIGINT)
run_tool(lambda: os.kill(os.getpid(), signal.SIGINT))
""")
    tool = start(sys.executable, program)
    assert finish(tool, code=-signal.SIGINT) == 'Interrupted.\n'


@pytest.mark.parametrize(
    ('number', 'told'),
    [
        (signal.SIGINT, 'Interrupted.'),
        (signal.SIGTERM, 'SIGTERM: Interrupted.'),
        (signal.SIGHUP, 'SIGHUP: Interrupted.'),
    ],
)
def test_a_signal_to_a_tool_and_its_workers_is_told_and_logged(tmp_path, number, told):
    program = tmp_path / 'stopped.py'
    program.write_text(f"""
import os
import signal
import time
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader
from mmseg_rmi.utils.command_line import run_tool

def main():
    MMLogger.get_instance('stopped', log_file={str(tmp_path / 'run.log')!r})
    try:
        batches = iter(DataLoader(range(8), num_workers=2))
        for _ in batches:
            # As a worker leaves it that ends while it looks whether to end.
            batches._workers_done_event._cond.acquire()
            del batches
            os.killpg(0, {number:d})
            time.sleep(60)  # a second one would end the tool without a word
    finally:
        print('unwound', flush=True)

os.setsid()
signal.signal({number:d}, signal.SIG_DFL)  # nohup has it ignored
run_tool(main)
""")
    said = finish(start(sys.executable, program), code=128 + number)
    assert said == f'unwound\n{told}\n'
    assert told in (tmp_path / 'run.log').read_text()


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    program = tmp_path / 'ignores.py'
    program.write_text("""
import os, signal
from mmseg_rmi.utils.command_line import run_tool

signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup starts a program
run_tool(lambda: os.kill(os.getpid(), signal.SIGHUP))
""")
    assert run(sys.executable, program) == ''


def test_a_distributed_tool_ends_its_group_while_python_is_whole(tmp_path):
    program = tmp_path / 'distributed.py'
    program.write_text(f"""
import atexit
from multiprocessing import Process
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from mmseg_rmi.utils.command_line import run_tool

class Told(nn.Linear):
    def __del__(self):
        print('model is gone', flush=True)

def join(process, timeout=None, join=Process.join):
    join(process, timeout)
    if process.is_alive():
        print('a data loader waited for its worker in vain', flush=True)

Process.join = join

def main():
    store = 'file://{tmp_path / 'store'}'
    distributed.init_process_group('gloo', init_method=store, rank=0, world_size=1)
    model = DistributedDataParallel(Told(1, 1))
    batches = iter(DataLoader([1, 2, 3], num_workers=1, persistent_workers=True))
    next(batches)
    # As a runner, its loop and its hooks refer to each other.
    model.module.itself = [model, batches]

atexit.register(lambda: print('group is there:', distributed.is_initialized()))
run_tool(main)
""")
    said = run(sys.executable, program, GLOO_SOCKET_IFNAME='lo')
    assert said == 'model is gone\ngroup is there: False\n'


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    program = tmp_path / 'lines.py'
    program.write_text("""
from mmseg_rmi.utils.command_line import run_tool
run_tool(lambda: [print('line') for _ in range(100_000)] and None)
""")
    process = subprocess.run(
        f'"{sys.executable}" -W ignore "{program}" | head -1; echo ${{PIPESTATUS[0]}}',
        shell=True,
        executable='/bin/bash',
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    assert process.stdout.split()[-1] == '141'
    assert 'Error' not in process.stderr


def test_a_pipe_that_breaks_elsewhere_is_an_error(monkeypatch, capsys):
    assert end(monkeypatch, lambda: fail(BrokenPipeError(32, 'Broken pipe'))) == 2
    assert 'Broken pipe' in capsys.readouterr().err


def test_the_log_file_of_a_run_gets_the_traceback(monkeypatch, tmp_path, capsys):
    logger = MMLogger('command-line', log_file=str(tmp_path / 'run.log'))
    monkeypatch.setitem(MMLogger._instance_dict, 'command-line', logger)
    assert end(monkeypatch, lambda: fail(RuntimeError('out of memory'))) == 2
    for handler in logger.handlers:
        handler.close()
    assert 'Traceback' in (tmp_path / 'run.log').read_text()
    assert 'Traceback' not in ''.join(capsys.readouterr())


@pytest.mark.parametrize(
    'command',
    [
        ('train.py', 'missing.py'),
        ('swap_loss.py', 'missing.py'),
    ],
)
def test_a_missing_config_is_told_in_one_line(command):
    said = finish(start(sys.executable, '-W', 'ignore', TOOLS / command[0], *command[1:]), code=2)
    assert said.strip().splitlines()[-1].startswith('Error: ')
    assert 'missing.py' in said
    assert 'Traceback' not in said


def test_every_tool_ends_through_the_helper():
    for tool in TOOLS.rglob('*.py'):
        text = tool.read_text()
        assert "__name__ == '__main__'" not in text or 'run_tool(main' in text, tool
