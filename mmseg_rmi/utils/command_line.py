"""How command-line tools end: with errors in one line, and a traceback on demand."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import re
import select
import signal
import sys
import traceback
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

USAGE_ERROR = 2  # as argparse exits
PIPE_CLOSED = 141  # as shells report SIGPIPE
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
# The message of an error from a worker of torch's DataLoader: its traceback, then the error.
IN_WORKER = re.compile(
    r'Caught .* in DataLoader worker .*\n +File .*?\n(?=\S)'
    r'([\w.]+\.)?(?P<name>\w+)(: (?P<message>.*))?',
    re.DOTALL,
)


def setting(text: str) -> str:
    """Return an argument that is ``KEY=VALUE``, and let argparse name any other."""
    if '=' not in text:
        raise ArgumentTypeError(f'expected KEY=VALUE without blanks, got {text!r}')
    return text


def user_path(text: str) -> Path:
    """Return the path of an argument; shells leave the ``~`` of ``--out=~/x`` alone."""
    return Path(text).expanduser()


def add_debug_argument(parser: ArgumentParser) -> None:
    """Declare ``--debug`` for the help text; :func:`run_tool` takes it from the command line."""
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')


def run_tool(main: Callable[[], object], interrupted: str = 'Interrupted.') -> None:
    """Run the main function of a tool and exit.

    An error ends it with one line on stderr and exit code 2. With ``--debug``, which is taken from
    the command line before ``main`` reads it, the traceback is shown instead. If a run had started,
    its log file gets the traceback in any case. Nothing is said where the output goes to a program
    that has read enough, such as ``head``.

    SIGTERM, by which clusters end a job, and SIGHUP, by which a terminal does, are told and logged
    as Ctrl-C is. A second signal ends the process at once. Data loaders are left to Python's end: a
    worker that the same signal ended may hold a lock for ever.

    Args:
        main: what it returns becomes the exit code; None is success.
        interrupted: what to say on Ctrl-C.
    """
    for number in STOP_SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupt)  # others are ignored, as nohup has it
    debug = '--debug' in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != '--debug']
    try:
        code = main()
        _leave_process_group()
        sys.stdout.flush()
        sys.exit(code)  # type: ignore[arg-type]
    except KeyboardInterrupt as interrupt:
        end_at_once_by_signals()
        sent = interrupt.args[0] if interrupt.args else signal.SIGINT
        said = interrupted if sent == signal.SIGINT else f'{sent.name}: {interrupted}'
        _write_to_log_file(said, 'WARNING')
        print(said, file=sys.stderr)
        sys.exit(128 + sent)  # as shells report it
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _is_output_closed():
            sys.exit(PIPE_CLOSED)
        if debug:
            raise
        _write_to_log_file(traceback.format_exc())
        print(f'{_one_line(error)} (--debug shows the traceback)', file=sys.stderr)
        sys.exit(USAGE_ERROR)


def end_at_once_by_signals() -> None:
    """Let a signal end this process without a word.

    Processes of a distributed run wait for each other in torch, where no handler of Python is
    called: whoever unwound first would leave the others waiting. Their launcher says what ended
    them.
    """
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _leave_process_group() -> None:
    """End the process group of a distributed run that succeeded, if this was one.

    Threads of gloo hold tensors for a moment after the last operation; one that they let go while
    Python ends aborts the process (https://github.com/pytorch/pytorch/pull/179291), and a launcher
    would report a finished training as failed.
    """
    torch = sys.modules.get('torch')
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        _end_loader_workers()
        gc.collect()  # models that hold the group
        torch.distributed.destroy_process_group()


def _end_loader_workers() -> None:
    """End the workers of all data loaders.

    A loader that is collected as garbage waits five seconds for each of its workers: the queue
    through which it tells them to end is garbage as well, and closed before.
    """
    for loader in _running_loaders():
        loader._shutdown_workers()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise a KeyboardInterrupt that tells the signal; in forked processes, just end."""
    if multiprocessing.parent_process() is not None:
        end_at_once_by_signals()
        os.kill(os.getpid(), number)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's raises for workers that also got it
    for loader in _running_loaders():
        loader._shutdown = True  # it would wait for ever for a lock that a dead worker holds
    raise KeyboardInterrupt(signal.Signals(number))


def _running_loaders() -> list[Any]:
    """Find the iterators of data loaders that have workers."""
    torch_loader = sys.modules.get('torch.utils.data.dataloader')
    kind = getattr(torch_loader, '_MultiProcessingDataLoaderIter', ())
    # Proxies fake their class, and raise where what they stand for is gone.
    return [each for each in gc.get_objects() if issubclass(type(each), kind)]


def _is_output_closed() -> bool:
    """Tell whether nobody reads the output any more, and if so drop the rest of it."""
    try:
        output = sys.stdout.fileno()
    except OSError:  # it goes to no file
        return False
    poll = select.poll()
    poll.register(output, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


def _one_line(error: Exception) -> str:
    """Format an error's name and message; those of values and files need no name.

    One without a message, such as that of an assertion, is told with the line that raised it.
    """
    # str() of a KeyError would quote its message.
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    name = type(error).__name__
    if found := IN_WORKER.match(message):
        name, message = found['name'], found['message'] or ''
    said = ' '.join(message.split())
    if not message and not found and error.__traceback__:
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = f'{place.line} ({place.filename}, line {place.lineno})'
    elif said and isinstance(error, (ValueError, OSError)):
        if isinstance(error, OSError) and error.errno in FULL_DISK and error.filename is None:
            said += ': free some space and start again; a training goes on with --resume'
        return f'Error: {said}'
    return f'{name}: {said}' if said else name


def _write_to_log_file(text: str, level: str = 'ERROR') -> None:
    """Write to the log file of MMEngine, if a run has opened one, but not to the terminal."""
    if sys.modules.get('mmengine') is None:
        return
    import logging

    from mmengine.logging import MMLogger

    logging.raiseExceptions = False  # else a full disk is told again, with a traceback
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                record = logger.makeRecord(
                    logger.name, logging.getLevelName(level), '', 0, text, (), None
                )
                handler.handle(record)
