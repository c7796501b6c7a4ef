"""Of several processes one writes the scores."""

import json
import logging
from types import SimpleNamespace

import mmengine.dist.utils
import pytest
import torch

from mmseg_rmi.hooks import MainProcessLoggerHook


@pytest.mark.parametrize('rank', [0, 1])
def test_the_main_process_writes_the_scores(monkeypatch, tmp_path, rank):
    monkeypatch.setattr(mmengine.dist.utils, 'get_rank', lambda group=None: rank)
    scores = {'mIoU': 12.5, 'IoU.sky': torch.tensor(50.0)}
    runner = SimpleNamespace(
        log_processor=SimpleNamespace(get_log_after_epoch=lambda *_, **__: (scores, 'mIoU: 12.5')),
        logger=logging.getLogger(__name__),
        log_dir=str(tmp_path),
        test_dataloader=range(3),
    )
    hook = MainProcessLoggerHook()
    hook.json_log_path = 'scores.json'
    hook.after_test_epoch(runner, scores)
    written = [json.loads(file.read_text()) for file in tmp_path.iterdir()]
    assert written == [{'mIoU': 12.5, 'IoU.sky': 50.0}] * (rank == 0)
