"""A checkpoint that does not fit the model is refused where MMEngine would load what fits."""

import shlex
from pathlib import Path

import pytest
import torch
from mmengine.runner import checkpoint

from helpers.killed_training import ITERATIONS, Regression, train
from helpers.tool_runs import load_tool
from mmseg_rmi.hooks import CheckWeightsHook
from mmseg_rmi.trained_weights import check_weights

SOURCE = 'dir/iter_8.pth'
OTHER_CLASSES = {'layer.weight': torch.zeros(3, 2), 'layer.bias': torch.zeros(1)}
ONE_LEFT = {'layer.bias': torch.zeros(1)}


def weights(**changes):
    return {**Regression().state_dict(), **changes}


@pytest.mark.parametrize('use', ['test', 'resume'])
@pytest.mark.parametrize(
    ('state', 'told'),
    [
        (OTHER_CLASSES, r'layer.weight is 3 x 2 in the file and 1 x 2 in the model\.'),
        (ONE_LEFT, r'layer.weight is not there in the file and 1 x 2 in the model\.'),
        (dict(OTHER_CLASSES, **{'layer.bias': torch.zeros(1)}), 'layer.weight is 3 x 2'),
    ],
)
def test_a_misfit_is_named_with_both_shapes_file_and_mend(state, told, use):
    with pytest.raises(ValueError, match=f'{SOURCE} does not fit the config: {told}') as error:
        check_weights(Regression(), {'state_dict': state}, SOURCE, use)
    assert 'Take the config that it was trained with' in str(error.value)
    assert (f'load_from={SOURCE} and without --resume' in str(error.value)) == (use == 'resume')
    check_weights(Regression(), {'state_dict': state}, SOURCE, 'load')


@pytest.mark.parametrize('use', ['test', 'resume', 'load'])
@pytest.mark.parametrize('state', [{}, {'head.weight': torch.zeros(1, 2)}, {'meta': {}}])
def test_a_checkpoint_without_a_weight_of_the_model_is_refused(state, use):
    with pytest.raises(ValueError, match=f'{SOURCE} has no weight of this model: it holds '):
        check_weights(Regression(), state, SOURCE, use)


def test_the_remedy_for_weights_below_another_key_gives_weights_that_fit(tmp_path):
    path = tmp_path / 'theirs.pth'
    torch.save({'model': weights(), 'epoch': 3}, path)
    with pytest.raises(ValueError, match='it holds model, epoch') as error:
        check_weights(Regression(), torch.load(path), str(path))
    exec(shlex.split(str(error.value).partition('alone with ')[2])[2], {})
    check_weights(Regression(), torch.load(tmp_path / 'theirs_weights.pth'), str(path))


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(value):
    state = weights(**{'layer.bias': torch.full((1,), value)})
    with pytest.raises(ValueError, match=r'layer\.bias that are not finite'):
        check_weights(Regression(), state, SOURCE)


def test_a_test_does_without_what_only_training_needs():
    model, state = Regression(), weights()
    model.auxiliary_head = torch.nn.Linear(2, 1)
    model.norm = torch.nn.BatchNorm1d(2)
    state |= {f'norm.{name}': value for name, value in model.norm.state_dict().items()}
    del state['norm.num_batches_tracked']  # of torch before 0.4.1
    check_weights(model, state, SOURCE)
    with pytest.raises(ValueError, match=r'auxiliary_head\.weight is not there'):
        check_weights(model, state, SOURCE, 'resume')


def test_weights_of_a_distributed_training_fit():
    state = {f'module.{name}': value for name, value in weights().items()}
    check_weights(Regression(), {'state_dict': state}, SOURCE, 'resume')


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('trained')
    train(folder)
    return folder


def spoil(trained: Path, folder: Path, **changes) -> None:
    """Write a checkpoint of a training, some of its entries replaced or, as None, removed."""
    content = {**torch.load(trained / f'iter_{ITERATIONS}.pth'), **changes}
    content = {name: value for name, value in content.items() if value is not None}
    torch.save(content, folder / 'iter_4.pth')


@pytest.mark.parametrize(
    ('changes', 'told'),
    [
        (dict(state_dict=OTHER_CLASSES), 'layer.weight is 3 x 2 in the file'),
        (dict(state_dict=ONE_LEFT), 'layer.weight is not there in the file'),
        (dict(meta=None), r'cannot be resumed from, since it has no meta\.iter: to start from its'),
        (dict(optimizer={}), 'it has no optimizer'),
        (dict(meta=None, message_hub=None, optimizer=None), 'no message_hub and no optimizer'),
    ],
)
def test_a_training_does_not_resume_from_what_fits_in_part(trained, tmp_path, changes, told):
    spoil(trained, tmp_path, **changes)
    with pytest.raises(ValueError, match=rf'iter_4\.pth .*{told}'):
        train(tmp_path, CheckWeightsHook(), resuming=True)


def test_a_training_resumes_from_what_fits(trained, tmp_path):
    spoil(trained, tmp_path)
    assert train(tmp_path, CheckWeightsHook(), resuming=True).iter == ITERATIONS


def test_a_network_is_not_opened_with_weights_of_another(tmp_path, monkeypatch):
    tool = load_tool('analysis/trained_model.py')
    monkeypatch.setattr(tool.compat, 'load_checkpoints_safely', lambda: None)
    monkeypatch.setattr(tool.Config, 'fromfile', lambda path: tool.Config(dict(model={})))
    monkeypatch.setattr(tool, 'init_model', lambda cfg, source, device: Regression())
    torch.save({'state_dict': OTHER_CLASSES}, tmp_path / 'a.pth')
    assert checkpoint.load_checkpoint(Regression(), str(tmp_path / 'a.pth'))  # as mmengine does
    with pytest.raises(ValueError, match=r'layer\.weight is 3 x 2'):
        tool.open_trained('config.py', str(tmp_path / 'a.pth'), {})
