"""Photographs of several sizes and a segmentor of a few weights, for what happens at test time."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.runner import Runner
from mmseg.registry import MODELS
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

SIZES = [(24, 32), (30, 20), (17, 25), (24, 33), (28, 28)]


@MODELS.register_module(force=True)
class HalvedPixels(nn.Module):
    """A backbone that hands on the pixels at half the resolution."""

    def forward(self, inputs: Tensor) -> tuple[Tensor]:
        return (F.avg_pool2d(inputs, 2),)


def write_images(folder: Path) -> list[Path]:
    """Smooth colours and sharp noise, with a label of 0 or 1 for every pixel."""
    rng = np.random.default_rng(0)
    for name in ('images', 'labels'):
        (folder / name).mkdir()
    paths = [folder / 'images' / f'{index}.png' for index in range(len(SIZES))]
    for path, (height, width) in zip(paths, SIZES, strict=True):
        coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR)).astype(int)
        noisy = smooth + rng.integers(-25, 26, smooth.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
        labels = rng.integers(0, 2, (height, width), dtype=np.uint8)
        Image.fromarray(labels).save(folder / 'labels' / path.name)
    return paths


def segmentor(loss_decode: dict | list, num_classes: int, **settings: Any) -> dict:
    """Config of a linear map of pixels, upsampled."""
    return dict(
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            mean=[100.0, 110.0, 120.0],
            std=[30.0, 20.0, 25.0],
            bgr_to_rgb=True,
            test_cfg=dict(size_divisor=16),
        ),
        backbone=dict(type='HalvedPixels'),
        decode_head=dict(
            type='FCNHead',
            in_channels=3,
            channels=3,
            num_convs=0,
            concat_input=False,
            dropout_ratio=0,
            num_classes=num_classes,
            loss_decode=loss_decode,
            align_corners=True,
            **(dict(threshold=0.4) if num_classes == 1 else {}),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
        **settings,
    )


def build_runner(folder: Path, model: dict, test_cfg: dict, pipeline: list | None = None) -> Runner:
    """A runner over the images below ``folder``, which writes label maps to ``folder/out``."""
    torch.manual_seed(0)
    pipeline = pipeline or [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(48, 40), keep_ratio=True),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs'),
    ]
    runner = Runner(
        model=ConfigDict(model),
        work_dir=str(folder / 'work'),
        test_dataloader=dict(
            batch_size=1,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(
                type='BaseSegDataset',
                data_root=str(folder),
                data_prefix=dict(img_path='images', seg_map_path='labels'),
                img_suffix='.png',
                metainfo=dict(classes=('a', 'b', 'c', 'd')),
                pipeline=pipeline,
            ),
        ),
        test_evaluator=dict(type='IoUMetric', output_dir=str(folder / 'out'), keep_results=True),
        test_cfg=test_cfg,
        default_scope='mmseg',
        experiment_name=folder.name,
        log_level='WARNING',
    )
    network = getattr(runner.model, 'module', runner.model)
    with torch.no_grad():
        network.decode_head.conv_seg.weight.normal_(generator=torch.Generator().manual_seed(1))
        network.decode_head.conv_seg.bias.zero_()
    return runner


def logits_of(runner: Runner) -> list[np.ndarray]:
    """What MMSegmentation itself predicts: ``C x H x W`` for each image, one by one."""
    network = getattr(runner.model, 'module', runner.model).eval()
    with torch.no_grad():
        samples = [network.test_step(batch)[0] for batch in runner.test_dataloader]
    return [sample.seg_logits.data.numpy() for sample in samples]


def written(folder: Path, paths: list[Path]) -> list[np.ndarray]:
    """The label maps that the evaluator wrote."""
    return [np.asarray(Image.open(folder / 'out' / path.name)) for path in paths]
