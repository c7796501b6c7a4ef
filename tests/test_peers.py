"""The snippets of README.md and docs/peers.md run, against the libraries themselves."""

import copy
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / 'README.md', ROOT / 'docs' / 'peers.md')
LIBRARIES = {
    'segmentation_models_pytorch': 'segmentation_models_pytorch',
    'MONAI': 'monai',
    'Transformers': 'transformers',
    'Lightning': 'lightning',
    'nnU-Net': 'nnunetv2',
}


def snippets() -> list:
    """Each Python block, with the section that it is in."""
    found = []
    text = '\n'.join(page.read_text() for page in PAGES)
    for section in re.split(r'^## ', text, flags=re.MULTILINE):
        title = section.partition('\n')[0]
        blocks = re.findall(r'^```python\n(.*?)^```', section, re.MULTILINE | re.DOTALL)
        found += [pytest.param(title, block, id=f'{title}-{i}') for i, block in enumerate(blocks)]
    return found


@pytest.mark.filterwarnings('ignore')  # of the libraries; ours stay errors below
@pytest.mark.filterwarnings(r'error:::mmseg_rmi\..*')
@pytest.mark.parametrize(('section', 'code'), snippets())
def test_snippet_runs(section: str, code: str, tmp_path: Path, monkeypatch) -> None:
    if section in LIBRARIES:
        pytest.importorskip(LIBRARIES[section], reason=f'{section} is not installed')
    monkeypatch.chdir(tmp_path)
    names: dict = {'__name__': 'snippet'}
    exec(compile(code, section, 'exec'), names)
    if 'loss' in names:
        assert names['loss'].isfinite()
    if hasattr(names.get('model'), 'parameters'):  # and is no config's
        gradients = [each.grad for each in names['model'].parameters() if each.grad is not None]
        assert any(gradient.any() for gradient in gradients)


# A 2d U-Net of three stages, as nnU-Net plans it.
NNUNET_PLANS = dict(
    dataset_name='Dataset001_Drawn',
    plans_name='nnUNetPlans',
    continue_training=False,
    configurations={
        '2d': dict(
            batch_dice=True,
            data_identifier='nnUNetPlans_2d',
            pool_op_kernel_sizes=[[1, 1], [2, 2], [2, 2]],
            architecture=dict(
                network_class_name='dynamic_network_architectures.architectures.unet.PlainConvUNet',
                arch_kwargs=dict(
                    n_stages=3,
                    features_per_stage=[4, 8, 16],
                    conv_op='torch.nn.Conv2d',
                    kernel_sizes=[[3, 3]] * 3,
                    strides=[[1, 1], [2, 2], [2, 2]],
                    n_conv_per_stage=[1, 1, 1],
                    n_conv_per_stage_decoder=[1, 1],
                    conv_bias=True,
                    norm_op='torch.nn.InstanceNorm2d',
                    norm_op_kwargs=dict(affine=True),
                    nonlin='torch.nn.LeakyReLU',
                ),
                _kw_requires_import=['conv_op', 'norm_op', 'nonlin'],
            ),
        )
    },
)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('labels', [{}, {'ignore': 3}], ids=['all labels', 'an ignored label'])
def test_nnunet_trains_with_its_own_loss_and_the_region_term(
    labels: dict, tmp_path: Path, monkeypatch
) -> None:
    pytest.importorskip('nnunetv2', reason='nnU-Net is not installed')
    monkeypatch.setenv('nnUNet_results', str(tmp_path))
    (code,) = (each.values[1] for each in snippets() if each.values[0] == 'nnU-Net')
    names: dict = {'__name__': 'snippet'}
    exec(compile(code, 'nnU-Net', 'exec'), names)
    data = dict(channel_names={'0': 'drawn'}, labels={'background': 0, 'a': 1, 'b': 2, **labels})
    trainer = names['nnUNetTrainerRMI'](
        copy.deepcopy(NNUNET_PLANS), '2d', 0, data, device=torch.device('cpu')
    )
    network = trainer.build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, 1, 3, enable_deep_supervision=True
    )
    targets = torch.randint(0, 3 + len(labels), (2, 1, 32, 32)).float()
    outputs = network(torch.rand(2, 1, 32, 32))
    scales = [targets, targets[..., ::2, ::2], targets[..., ::4, ::4]][: len(outputs)]

    loss = trainer._build_loss()(outputs, scales)
    own_loss = super(type(trainer), trainer)._build_loss()(outputs, scales)
    assert loss > own_loss  # the region term is not negative
    loss.backward()
    assert all(each.grad.isfinite().all() for each in network.parameters() if each.grad is not None)


def test_every_library_has_a_snippet() -> None:
    assert {each.values[0] for each in snippets()} >= set(LIBRARIES)
