"""Check the labels that a config trains on: ``python tools/check_labels.py CONFIG``.

Reads every label map of the training set through the config's own pipeline, up to the step that
loads it, and prints pixels and images by class, and weights that favour rare classes. Says what is
probably wrong: values that are no class, foreground that is ignored, ``reduce_zero_label`` on data
whose 0 is a class, colours or 16 bits read as classes, classes that never occur, heads that do not
fit. Exits with 1 if something is.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.dataset import ConcatDataset
from mmseg.registry import DATASETS
from mmseg.utils import register_all_modules
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from mmseg_rmi import launch
from mmseg_rmi.datasets.empty_sets import EmptySetError
from mmseg_rmi.datasets.sample_errors import apply_step
from mmseg_rmi.utils.checks import check_integer
from mmseg_rmi.utils.command_line import add_debug_argument, run_tool
from mmseg_rmi.utils.labels import INT32_RANGE

FIRST = 3  # files that are named for each fault
LOSSY = ('.jpg', '.jpeg')


class LabelMap(NamedTuple):
    """One label map as the pipeline loads it, and what its file says of itself."""

    path: str
    mode: str  # of PIL: 'L' and 'P' hold 8 bits, 'I;16' and 'I' more, 'RGB' colours
    values: np.ndarray
    pixels: np.ndarray  # of each value
    shape: tuple[int, ...]
    image_shape: tuple[int, ...] | None
    error: str = ''  # of a file that cannot be read


class LabelMaps(Dataset):
    """The label maps of a data set of MMSegmentation, without what follows in its pipeline."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> LabelMap:
        results = self.dataset.get_data_info(index)
        path = results.get('seg_map_path')
        if path is None:
            raise ValueError(
                'the training set has no label maps: set seg_map_path, their folder, in '
                'train_dataloader.dataset.data_prefix'
            )
        try:
            for transform in self.dataset.pipeline.transforms:
                if 'gt_seg_map' in results:
                    break
                results = apply_step(transform, results)
            with Image.open(path) as file:
                mode = file.mode
        except Exception as error:  # of any step and any decoder
            said = ' '.join(str(error).split()) or type(error).__name__
            nothing = np.empty(0, int)
            return LabelMap(path, '', nothing, nothing, (0, 0), None, said)
        if 'gt_seg_map' not in results:
            raise ValueError('no step of train_dataloader.dataset.pipeline loads a label map')
        labels, image = results['gt_seg_map'], results.get('img')
        values, pixels = np.unique(labels, return_counts=True)
        image_shape = None if image is None else image.shape[:2]
        return LabelMap(path, mode, values, pixels, labels.shape, image_shape)


@dataclass
class Survey:
    """The contents of all label maps together."""

    pixels: Counter[int] = field(default_factory=Counter)  # of each value
    images: Counter[int] = field(default_factory=Counter)
    files: dict[int | str, list[str]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)  # of the files that cannot be read
    total: int = 0

    def add(self, label_map: LabelMap) -> None:
        """Count a label map, and remember by which files a value or a fault came."""
        self.total += 1
        if label_map.error:
            self.files['unreadable'].append(label_map.path)
            self.errors.append(label_map.error)
            return
        for value, pixels in zip(label_map.values.tolist(), label_map.pixels.tolist(), strict=True):
            self.pixels[value] += pixels
            self.images[value] += 1
            self.files[value].append(label_map.path)
        size = label_map.shape[:2]
        if len(label_map.shape) != 2:
            self.files['colour'].append(label_map.path)
        if label_map.mode.startswith(('I', 'F')):
            self.files['wide'].append(label_map.path)
        if Path(label_map.path).suffix.lower() in LOSSY:
            self.files['lossy'].append(label_map.path)
        if label_map.image_shape not in (None, size):
            self.files['size'].append(label_map.path)


@dataclass(frozen=True)
class Heads:
    """The labels that the model of a config expects."""

    num_classes: int | None
    out_channels: int | None
    ignore_index: int | None
    pad_value: int | None  # what the data preprocessor pads label maps with

    @staticmethod
    def of(model: dict[str, Any]) -> Heads:
        """Read the last decode head."""
        head = model.get('decode_head') or {}
        head = head[-1] if isinstance(head, Sequence) else head
        classes, ignore_index = head.get('num_classes'), head.get('ignore_index', 255)
        if ignore_index is not None:
            check_integer('decode_head.ignore_index', ignore_index, *INT32_RANGE)
        return Heads(
            classes,
            head.get('out_channels') or classes,
            ignore_index,
            (model.get('data_preprocessor') or {}).get('seg_pad_val'),
        )


def datasets_in(dataset: Any) -> Iterator[Any]:
    """The data sets that are joined or repeated in one."""
    if isinstance(dataset, ConcatDataset):
        for each in dataset.datasets:
            yield from datasets_in(each)
    elif hasattr(dataset, 'dataset'):
        yield from datasets_in(dataset.dataset)
    else:
        yield dataset


def read_survey(datasets: Sequence[Any], workers: int, console: Console) -> Survey:
    """Read all label maps, with a bar."""
    survey = Survey()
    for dataset in datasets:
        loader = DataLoader(
            LabelMaps(dataset), batch_size=None, num_workers=workers, collate_fn=lambda item: item
        )
        for label_map in track(loader, 'Label maps', total=len(dataset), console=console):
            survey.add(label_map)
    return survey


def find_faults_of_files(survey: Survey) -> Iterator[str]:
    """Say which files are no maps of class indices."""
    files = survey.files
    if files['unreadable']:
        yield (
            f'unreadable, or with an unreadable image: {_named(files["unreadable"])} '
            f'({survey.errors[0]})'
        )
    if files['colour']:
        yield (
            f'read as colours: {_named(files["colour"])}. Write them as images of one channel with '
            "class indices; palette PNGs are read as indices with imdecode_backend='pillow', the "
            'default of LoadAnnotations'
        )
    if files['wide']:
        yield (
            f'more than 8 bits: {_named(files["wide"])}. LoadAnnotations keeps the low 8, so that '
            'a value of 256 becomes 0. Write them with 8 bits'
        )
    if files['lossy']:
        yield (
            f'JPEG, which changes values along every boundary: {_named(files["lossy"])}. Write '
            'label maps as PNG'
        )
    if files['size']:
        yield f'not of the same size as the image: {_named(files["size"])}'


def find_faults_of_values(
    survey: Survey, heads: Heads, classes: Sequence[str], reduce_zero_label: bool
) -> Iterator[str]:
    """Say which labels are not classes, or not the ones that the config means."""
    count, ignore = len(classes), heads.ignore_index
    present = {value for value in survey.pixels if value != ignore}
    strange = sorted(value for value in present if not 0 <= value < count)
    for value in strange[:FIRST]:
        yield (
            f'{value} is neither a class (0 to {count - 1}) nor ignore_index={ignore}: '
            f'{survey.pixels[value]} pixels, in {_named(survey.files[value])}'
        )
    if len(strange) > FIRST:
        yield f'{len(strange) - FIRST} more values are not classes: {_short(strange[FIRST:])}'
    if strange == [count] and 0 not in present and not reduce_zero_label:
        yield f'labels run from 1 to {count}: set reduce_zero_label=True in the data set'
    if strange and ignore is not None and ignore not in survey.pixels:
        yield (
            f'no pixel has the ignore_index={ignore} of the decode head: does {strange[-1]} mark '
            f'ignored pixels here? Set decode_head.ignore_index={strange[-1]} and '
            f'data_preprocessor.seg_pad_val={strange[-1]}, or write them as {ignore}'
        )
    highest = max((value for value in present if value < count), default=-1)
    if reduce_zero_label and highest == count - 2 and ignore in survey.pixels:
        yield (
            f'reduce_zero_label=True makes label 0 of the files void, and class {count - 1} '
            f'({classes[-1]}) then never occurs: if 0 is the class {classes[0]}, set '
            'reduce_zero_label=False'
        )
    elif present == {0} and ignore in survey.pixels:
        yield (
            f'every pixel is class 0 ({classes[0]}) or ignored ({ignore}): if {ignore} is the '
            'foreground, it is never trained on. Write it as 1'
        )
    elif present:
        missing = [name for value, name in enumerate(classes) if value not in present]
        if missing:
            yield f'no pixel of {_short(missing)}: the network cannot learn what it never sees'
    if not present and survey.pixels:
        yield f'every pixel is ignored (ignore_index={ignore}): there is nothing to train on'


def find_faults_of_heads(heads: Heads, classes: Sequence[str]) -> Iterator[str]:
    """Say where the decode head does not fit the data set."""
    count = len(classes)
    if heads.num_classes is not None and heads.num_classes != count:
        yield (
            f'decode_head.num_classes={heads.num_classes}, but the data set has {count} classes '
            f'({_short(classes)})'
        )
    if heads.out_channels not in (heads.num_classes, 1) or (heads.out_channels, count) == (1, 1):
        yield (
            f'decode_head.out_channels={heads.out_channels} for num_classes={heads.num_classes}: '
            'leave it out, or set out_channels=1 with num_classes=2 for a binary map'
        )
    if heads.out_channels == 1 and heads.num_classes not in (None, 1, 2):
        yield (
            f'decode_head.out_channels=1 for num_classes={heads.num_classes}: one channel '
            'distinguishes two classes only'
        )
    if heads.pad_value is not None and heads.pad_value != heads.ignore_index:
        effect = 'trained on as a class' if 0 <= heads.pad_value < count else 'refused in training'
        yield (
            f'data_preprocessor.seg_pad_val={heads.pad_value} is not decode_head.ignore_index='
            f'{heads.ignore_index}: padding is {effect}'
        )


def make_table(survey: Survey, classes: Sequence[str], ignore_index: int | None) -> Table:
    """Tabulate every class, and every other value, in a row each."""
    total = max(sum(survey.pixels.values()), 1)
    table = Table('label', 'class', title=f'{survey.total} label maps')
    for name in ('pixels in %', 'images', 'images in %'):
        table.add_column(name, justify='right')
    named = dict(enumerate(map(escape, classes)))
    if ignore_index is not None:
        named[ignore_index] = 'ignored'
    for value in sorted(named.keys() | survey.pixels.keys()):
        pixels, images = survey.pixels[value], survey.images[value]
        table.add_row(
            str(value),
            named.get(value, '[red]not a class[/]'),
            f'{100 * pixels / total:.3f}',
            str(images),
            f'{100 * images / max(survey.total, 1):.1f}',
        )
    return table


def weigh_classes(pixels: Sequence[int]) -> list[float]:
    """Compute a weight of 1 / sqrt(frequency) for each class, 1 on average over all pixels.

    Args:
        pixels: of each class, of which one at least has some.

    Returns:
        A weight for each class; 1 for one without a pixel, whose weight has no effect.

    Example:
        >>> weigh_classes([90, 10, 0])  # a ratio of 3
        [0.83, 2.5, 1.0]
    """
    counts = np.asarray(pixels, float)
    scale = counts.sum() / np.sqrt(counts).sum()
    weights = np.divide(scale, np.sqrt(counts), out=np.ones_like(counts), where=counts > 0)
    return [round(weight, 2) for weight in weights.tolist()]


def check(cfg: Config, workers: int, console: Console) -> list[str]:
    """Print the table of a config's training set, and return what is probably wrong."""
    if not cfg.get('train_dataloader'):
        raise ValueError(f'{cfg.filename} has no train_dataloader, and so no labels to check')
    try:
        parts = list(datasets_in(DATASETS.build(cfg.train_dataloader.dataset)))
    except EmptySetError as error:
        return [str(error)]
    heads = Heads.of(cfg.get('model') or {})
    numbered = [f'class {number}' for number in range(heads.num_classes or 0)]
    classes = parts[0].metainfo.get('classes') or numbered
    if not classes:
        raise ValueError(
            'neither the training set nor the decode head says which classes there are: set '
            "metainfo=dict(classes=['...']) in the former, or num_classes in the latter"
        )
    faults = list(find_faults_of_heads(heads, classes))
    survey = read_survey(parts, workers, console)
    console.print(make_table(survey, classes, heads.ignore_index))
    faults += find_faults_of_files(survey)
    if not survey.files['colour']:  # whose values are no labels
        pixels = [survey.pixels[value] for value in range(len(classes))]
        if any(pixels):
            weights = ', '.join(f'{weight:.2f}' for weight in weigh_classes(pixels))
            console.print(f'1 / sqrt(frequency): class_weight=[{weights}]', soft_wrap=True)
        reduce_zero_label = getattr(parts[0], 'reduce_zero_label', False)
        faults += find_faults_of_values(survey, heads, classes, reduce_zero_label)
    return faults


def main() -> None:
    """Check as the command line says."""
    parser = argparse.ArgumentParser(description='Check the labels that a config trains on')
    parser.add_argument('config', help='config file')
    parser.add_argument('--workers', type=int, default=2, help='processes that read')
    launch.add_config_options(parser)
    add_debug_argument(parser)
    args = parser.parse_args()
    register_all_modules(init_default_scope=True)
    cfg = launch.load_config(args.config)
    cfg.merge_from_dict(args.cfg_options)
    console = Console()
    faults = check(cfg, args.workers, console)
    for fault in faults:
        console.print(f'[red]*[/] {escape(fault)}', highlight=False)
    console.print('Something is probably wrong.' if faults else 'No problem found.')
    sys.exit(bool(faults))


def _named(files: Sequence[str]) -> str:
    """``a.png, b.png, c.png and 7 more``."""
    more = f' and {len(files) - FIRST} more' if len(files) > FIRST else ''
    return ', '.join(files[:FIRST]) + more


def _short(items: Sequence[Any]) -> str:
    more = f', ... ({len(items)})' if len(items) > 8 else ''
    return ', '.join(map(str, items[:8])) + more


if __name__ == '__main__':
    run_tool(main)
