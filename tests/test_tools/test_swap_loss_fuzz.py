"""Any config gets a child whose heads train, or a line that says why not.

``MMSEG_RMI_FUZZ=2000`` tries as many configs as it says, in the place of 200.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from helpers.tool_runs import load_tool
from mmseg_rmi.losses import RMILoss

pytestmark = pytest.mark.usefixtures('mmseg_scope')

swap_loss = load_tool('swap_loss.py')
CONFIGS = int(os.environ.get('MMSEG_RMI_FUZZ', 200))


@MODELS.register_module()
class HeadOfAUser(FCNHead):
    pass


@MODELS.register_module()
class LossOfAUser(nn.Module):
    loss_name = 'loss_own'

    def forward(self, logits, labels, weight=None, ignore_index=255):
        return logits.square().mean()


LOSSES = st.sampled_from(
    [
        dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        dict(type='mmseg.CrossEntropyLoss', class_weight=[1.0, 2.0]),
        dict(type='DiceLoss', loss_weight=3.0),
        dict(type='LossOfAUser'),
        dict(type='LossThatIsNotHere', loss_weight=0.4),
        dict(type='RMILoss', region_size=2),
        dict(type='mmseg.RMILoss'),
        dict(type='torch.nn.functional.cross_entropy'),
        dict(loss_weight=1.0),
        dict(type='FocalLoss', loss_weight='1'),
        None,
        'CrossEntropyLoss',
        3,
    ]
)
SOME_LOSSES = st.one_of(LOSSES, LOSSES, st.lists(LOSSES, max_size=3))
KINDS = ['FCNHead', 'FCNHead', 'mmseg.FCNHead', 'PSPHead', 'ASPPHead', 'HeadOfAUser']
HOSTILE_KINDS = [
    'PointHead',
    'HeadThatIsNotHere',
    'ResNet',
    'DDRHead',
    'STDCHead',
    'torch.nn.functional.relu',
    None,
    3,
]


@st.composite
def heads(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from(KINDS if draw(st.integers(0, 3)) else HOSTILE_KINDS))
    head = dict(type=kind, in_channels=3, channels=2, num_classes=2, norm_cfg=dict(type='BN'))
    if draw(st.booleans()):
        head['loss_decode'] = draw(SOME_LOSSES)
    sampler = dict(type='OHEMPixelSampler', thresh=0.7)
    head['sampler'] = draw(st.sampled_from([None, None, sampler, 'OHEMPixelSampler']))
    return head


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    head = heads()
    some_heads = st.one_of(head, head, head, st.lists(head, max_size=2), st.none(), st.just(1))
    model = dict(type='EncoderDecoder', decode_head=draw(some_heads))
    if draw(st.booleans()):
        model['auxiliary_head'] = draw(some_heads)
    more = st.fixed_dictionaries(
        {},
        optional=dict(
            tta_model=st.sampled_from(
                [None, dict(type='mmseg.SegTTAModel'), dict(), 'SegTTAModel']
            ),
            test_cfg=st.sampled_from([None, dict(type='TestLoop'), dict(type='DenseCRFTestLoop')]),
            custom_imports=st.sampled_from([None, dict(imports='json'), dict(imports=[]), dict()]),
            default_scope=st.sampled_from([None, 'mmseg', 'mmdet']),
            work_dir=st.sampled_from([None, 'work_dirs/ce']),
            resume=st.booleans(),
            load_from=st.sampled_from([None, 'a.pth']),
        ),
    )
    return {'model': draw(st.sampled_from([model, model, model, model, None, 3])), **draw(more)}


def main_head(cfg: Config) -> dict[str, Any]:
    head = cfg.model.decode_head
    return head[-1] if isinstance(head, list) else head


def train_head(cfg: Config) -> None:
    """Build the head and take the gradient of its losses, unless a class of it is not here."""
    settings = main_head(cfg)
    if 'NotHere' in str(settings):
        return
    head = MODELS.build(settings)
    assert any(isinstance(module, RMILoss) for module in head.modules())
    samples = [SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 32, 32, dtype=torch.long)))]
    losses = head.loss_by_feat(torch.zeros(1, 2, 8, 8, requires_grad=True), samples)
    sum(value for name, value in losses.items() if 'loss' in name).backward()


@settings(
    max_examples=CONFIGS,
    suppress_health_check=list(HealthCheck),
    database=None,
    deadline=None,
    derandomize=CONFIGS <= 200,
)
@given(configs(), st.sampled_from(['py', 'json', 'yaml']), st.booleans(), st.booleans())
def test_a_config_gets_a_child_that_trains_or_a_reason(content, ending, auxiliary, beside):
    with tempfile.TemporaryDirectory() as name:
        base, child = Path(name) / f'mine.{ending}', Path(name) / 'child.py'
        Config(content).dump(base)
        try:
            swap_loss.swap_loss(str(base), child, auxiliary, beside)
        except swap_loss.NotApplicable:
            assert not child.exists()
            return
        cfg = Config.fromfile(child, import_custom_modules=False)
    assert not any(cfg.get(name) for name in ('work_dir', 'resume', 'load_from'))
    assert 'mmseg_rmi' in cfg.custom_imports.imports
    train_head(cfg)
