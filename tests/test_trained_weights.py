"""A checkpoint that does not fit the model is refused where MMEngine would load what fits."""

import shlex
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop, checkpoint

from helpers.killed_training import ITERATIONS, Regression, train
from helpers.tool_runs import load_tool
from mmseg_rmi.hooks import CheckWeightsHook
from mmseg_rmi.trained_weights import check_optimizer, check_weights

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
def test_a_misfit_is_named_with_both_shapes_file_and_remedy(state, told, use):
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


class Renamed(torch.nn.Module):
    """A layer whose weight had another name in its first version."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))
        self.bias = torch.nn.Parameter(torch.zeros(1))

    def _load_from_state_dict(self, state, prefix, metadata, *args):
        if metadata.get('version', 1) < 2 and 'w' in state:
            state['weight'] = state.pop('w')
        super()._load_from_state_dict(state, prefix, metadata, *args)


def test_weights_of_an_older_version_fit_by_the_version_in_the_file():
    state = Renamed().state_dict()
    state['w'] = state.pop('weight')
    with pytest.raises(ValueError, match='weight is not there'):
        check_weights(Renamed(), {'state_dict': state}, SOURCE)
    state._metadata['']['version'] = 1
    check_weights(Renamed(), {'state_dict': state}, SOURCE)


@pytest.mark.parametrize('use', ['test', 'resume'])
def test_weights_that_are_all_there_are_compared_without_loading_them(use):
    model = Regression()
    check_weights(model, {name: value + 1 for name, value in weights().items()}, SOURCE, use)
    assert all(torch.equal(value, weights()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ('loop', 'end'),
    [
        (None, pytest.raises(ValueError, match=r'layer\.weight is not there')),
        (
            dict(by_epoch=False, max_iters=8),  # in MMSegmentation's own tools/test.py
            pytest.raises(ValueError, match=r'layer\.weight is not there'),
        ),
        (Mock(spec=IterBasedTrainLoop), nullcontext()),
    ],
    ids=['none', 'settings', 'built'],
)
def test_what_does_not_train_needs_all_weights(loop, end):
    runner = SimpleNamespace(model=Regression(), _resume=False, _load_from=SOURCE, _train_loop=loop)
    with end:
        CheckWeightsHook().after_load_checkpoint(runner, {'state_dict': ONE_LEFT})


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


def groups_of(optimizer: torch.optim.Optimizer) -> dict:
    return dict(optimizer=optimizer.state_dict())


WEIGHTS = list(Regression().parameters())  # of the layer and its bias


@pytest.mark.parametrize(
    ('optimizer', 'told'),
    [
        (
            torch.optim.SGD([dict(params=[each]) for each in WEIGHTS], lr=1.0, momentum=0.9),
            '2 parameters in 2 groups, and the config asks for 2 parameters in 1 group',
        ),
        (
            torch.optim.SGD(WEIGHTS[:1], lr=1.0),
            '1 parameters in 1 group, and the config asks for 2 parameters in 1 group',
        ),
        (
            torch.optim.AdamW(WEIGHTS),
            'settings amsgrad, betas, .*, and the config asks for settings dampening, momentum',
        ),
    ],
)
def test_a_training_does_not_resume_with_another_optimizer(trained, tmp_path, optimizer, told):
    spoil(trained, tmp_path, **groups_of(optimizer))
    remedy = r'Take the optim_wrapper .* load_from=.*iter_4\.pth and without --resume'
    with pytest.raises(
        ValueError, match=rf'iter_4\.pth has the state of another optimizer: {told}.*{remedy}'
    ):
        train(tmp_path, CheckWeightsHook(), resuming=True)


def test_groups_of_other_sizes_are_told_by_optimizer():
    two, one = WEIGHTS, [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    own = OptimWrapperDict(
        a=OptimWrapper(torch.optim.SGD(two, lr=1.0)),
        b=OptimWrapper(torch.optim.SGD([dict(params=one[:1]), dict(params=one[1:])], lr=1.0)),
    )
    check_optimizer(own, own.state_dict(), SOURCE)
    other = torch.optim.SGD([dict(params=one[:2]), dict(params=one[2:])], lr=1.0)
    state = dict(own.state_dict(), b=other.state_dict())
    with pytest.raises(
        ValueError, match=r'another optimizer b: parameter groups of 2, 1, and .* 1, 2'
    ):
        check_optimizer(own, state, SOURCE)
    with pytest.raises(ValueError, match='another optimizer a: 0 parameters in 0 groups, and'):
        check_optimizer(own, other.state_dict(), SOURCE)


def test_settings_that_a_newer_torch_adds_do_not_matter():
    wrapper = OptimWrapper(torch.optim.SGD(WEIGHTS, lr=1.0))
    state = wrapper.state_dict()
    del state['param_groups'][0]['maximize']
    check_optimizer(wrapper, state, SOURCE)


def test_a_training_resumes_from_what_fits(trained, tmp_path):
    spoil(trained, tmp_path)
    assert train(tmp_path, CheckWeightsHook(), resuming=True).iter == ITERATIONS


@pytest.fixture
def tool(monkeypatch):
    """The tool's module, for which every config is that of a Regression."""
    tool = load_tool('analysis/trained_model.py')
    monkeypatch.setattr(tool.checkpoints, 'load_checkpoints_safely', lambda: None)
    monkeypatch.setattr(tool.Config, 'fromfile', lambda path: tool.Config(dict(model={})))
    monkeypatch.setattr(tool, 'init_model', lambda cfg, device: Regression())
    return tool


def test_a_network_is_not_opened_with_weights_of_another(tool, tmp_path):
    torch.save({'state_dict': OTHER_CLASSES}, tmp_path / 'a.pth')
    assert checkpoint.load_checkpoint(Regression(), str(tmp_path / 'a.pth'))  # as mmengine does
    with pytest.raises(ValueError, match=r'layer\.weight is 3 x 2'):
        tool.open_trained('config.py', str(tmp_path / 'a.pth'), {})


def test_a_network_is_opened_with_one_reading_of_its_file(tool, tmp_path, monkeypatch):
    state, read = {name: value + 1 for name, value in weights().items()}, []
    torch.save({'state_dict': state, 'meta': {'dataset_meta': {'classes': 'ab'}}}, tmp_path / 'a')
    load = checkpoint.CheckpointLoader.load_checkpoint
    monkeypatch.setattr(
        checkpoint.CheckpointLoader,
        'load_checkpoint',
        lambda *args: read.append(args) or load(*args),
    )
    _, model = tool.open_trained('config.py', str(tmp_path / 'a'), {})
    assert len(read) == 1
    assert model.dataset_meta == {'classes': 'ab'}
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
