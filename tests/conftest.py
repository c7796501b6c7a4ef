"""What the tests share: where real data lies, how numbers are drawn, and what each restores."""

import importlib.util
import logging
import os
import random
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
import numpy as np
import pytest
import torch

hypothesis.settings.register_profile(
    'reproducible', derandomize=True, deadline=None, database=None, max_examples=30
)
hypothesis.settings.load_profile('reproducible')


def pytest_configure(config: pytest.Config) -> None:
    """Hide the cards, so that tests do the same on every machine; ``-m gpu`` shows them."""
    if config.option.markexpr != 'gpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the example of the dense CRF where pydensecrf, which is compiled, is not installed."""
    if importlib.util.find_spec('pydensecrf') is None:
        for item in items:
            if item.name == 'mmseg_rmi.test_time.dense_crf.DenseCRF':
                item.add_marker(pytest.mark.skip(reason='needs pydensecrf2'))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a card where there is none, or none to be seen."""
    if item.get_closest_marker('gpu') and not torch.cuda.is_available():
        pytest.skip('needs a CUDA device, and -m gpu')


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Let each test draw the same numbers, whichever ran before."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


def restore_process() -> Iterator[None]:
    """Undo what tools set for their process: environment, signals, logging, MMEngine's loaders."""
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in ends}
    with ExitStack() as state:
        state.enter_context(mock.patch.dict(os.environ))
        state.enter_context(mock.patch.object(logging, 'raiseExceptions', logging.raiseExceptions))
        if checkpoint := sys.modules.get('mmengine.runner.checkpoint'):
            loader = checkpoint.CheckpointLoader
            state.enter_context(mock.patch.dict(vars(checkpoint)))
            state.enter_context(mock.patch.object(loader, '_schemes', loader._schemes.copy()))
        yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


of_a_test = pytest.fixture(restore_process, autouse=True)
of_a_module = pytest.fixture(restore_process, autouse=True, scope='module')  # and of its fixtures


@pytest.fixture(scope='session', autouse=True)
def no_network() -> Iterator[None]:
    """Fail what asks another machine for anything."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            assert address[0] in ('127.0.0.1', '::1', 'localhost'), f'{address} is another machine'
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, 'connect', connect_here)
        yield


@pytest.fixture(scope='session')
def data_root() -> Path:
    """Folder of ``data/camvid``, ``data/voc2012_subset`` and ``reference/released_rmi.npz``."""
    folder = os.environ.get('MMSEG_RMI_DATA')
    if not folder:
        pytest.skip('needs real data: set MMSEG_RMI_DATA to the folder that holds data/camvid')
    root = Path(folder)
    if not root.is_dir():
        pytest.fail(f'MMSEG_RMI_DATA={folder} is not a folder')
    return root


@pytest.fixture(scope='session')
def mmseg_scope() -> None:
    """Look up names without a scope, such as 'PackSegInputs', in mmseg's registries."""
    from mmengine.registry import init_default_scope  # tests of what needs torch alone do without

    init_default_scope('mmseg')
