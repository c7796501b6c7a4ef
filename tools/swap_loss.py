"""Write the few-line child of a config that trains it with the RMI loss.

    python tools/swap_loss.py mmseg::pspnet/pspnet_r50-d8_4xb4-20k_voc12aug-512x512.py
    python tools/swap_loss.py my_config.py -o my_config_rmi.py --auxiliary
    python tools/swap_loss.py my_config.py --beside

Says of each head what it does with it, and why.
"""

import argparse
import shlex
import sys
import tempfile
from pathlib import Path

from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from rich.console import Console

from mmseg_rmi import launch
from mmseg_rmi.losses import RMILoss, SigmoidCrossEntropyLoss
from mmseg_rmi.utils.command_line import add_debug_argument, run_tool, user_path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.loss_swap.child import RUN_STATE, compose_child, name_child, unset_run_state
from tools.loss_swap.heads import change_model
from tools.loss_swap.swap import NotApplicable, Swap, all_losses, find_class, is_pure_python
from tools.loss_swap.test_time import set_activation, use_sigmoids

TRAINING = ('train_dataloader', 'train_cfg', 'optim_wrapper')


def read(config: str) -> ConfigDict:
    """Read a config, a file or ``mmseg::...``, without the modules that it wants imported."""
    if '::' not in config and config.endswith('.py') and is_pure_python(config):
        raise NotApplicable(
            'it is a pure-Python config, whose child is Python as well. Add to it, or to one that '
            'reads it: from mmseg_rmi.losses import RMILoss; '
            "model['decode_head']['loss_decode'] = dict(type=RMILoss)"
        )
    with tempfile.TemporaryDirectory() as folder:
        child = Path(folder) / 'child.py'
        base = config if '::' in config else str(Path(config).resolve())
        child.write_text(f'_base_ = {base!r}\n')
        return launch.load_config(child, config, import_custom_modules=False)._cfg_dict


def swap_loss(
    config: str, out: Path, auxiliary: bool = False, beside: bool = False
) -> list[tuple[str, str, str]]:
    """Write the child config to ``out``, read it back, and return the decisions.

    Raises:
        NotApplicable: RMI cannot train this config; says why.
        FileExistsError: there is a file at ``out``, or its work dir would be that of its base.
        ValueError: ``out`` is no name of a Python file.
    """
    if out.suffix != '.py':
        raise ValueError(f'-o {out}: the child is written in Python, name it NAME.py')
    if out.exists():
        raise FileExistsError(f'{out} exists: name another file with -o')
    if out.stem == Path(config.rpartition('/')[2]).stem:
        raise FileExistsError(
            f'{out} has the name of its base, and would train in the same work dir, '
            f'work_dirs/{out.stem}: name it otherwise with -o'
        )
    settings = read(config)
    ours = settings.get('default_scope') in (None, 'mmseg')
    swap = Swap(auxiliary, beside, scope='' if ours else 'mmseg.')
    imports = settings.get('custom_imports')
    if not isinstance(imports, (dict, type(None))):
        raise NotApplicable(f"custom_imports must be dict(imports=['...']), got {imports!r}")
    if settings.get('model') is None:
        raise NotApplicable(f'{config} has no model')
    changes = {**unset_run_state(swap, settings), 'model': change_model(swap, settings.model)}
    changes |= set_activation(swap, settings) if beside else use_sigmoids(swap, settings)
    changes = {name: value for name, value in changes.items() if value or name in RUN_STATE}
    if missing := [name for name in TRAINING if settings.get(name) is None]:
        swap.note(', '.join(missing), 'not there', 'set what is missing, or the child cannot train')
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(compose_child(config, settings, changes, out))
    try:
        check_losses(read(str(out)).model)
    except Exception:
        out.unlink()
        raise
    return swap.decisions


def check_losses(model: ConfigDict) -> None:
    """Build the losses of this project that a child has: the merge may have left an argument."""
    for loss in all_losses(model):
        kind = loss.get('type') if isinstance(loss, dict) else None
        if find_class(kind) in (RMILoss, SigmoidCrossEntropyLoss):
            MODELS.build(loss)


def find_train_tool() -> Path:
    """Find this project's ``train.py``, as seen from here if it is below."""
    tool, here = Path(__file__).with_name('train.py').resolve(), Path.cwd()
    return tool.relative_to(here) if tool.is_relative_to(here) else tool


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Train a config of MMSegmentation with RMI')
    parser.add_argument('config', help="a config file, or 'mmseg::family/name.py'")
    parser.add_argument('-o', '--out', type=user_path, help='the file to write')
    parser.add_argument(
        '--auxiliary', action='store_true', help='give auxiliary heads RMI as well, at their weight'
    )
    parser.add_argument(
        '--beside', action='store_true', help='keep the losses, and add half a region term'
    )
    add_debug_argument(parser)
    return parser.parse_args()


def main() -> None:
    """Write the child that the command line asks for, and say what was decided."""
    args = parse_args()
    out = args.out or name_child(args.config, args.beside)
    console = Console()
    init_default_scope('mmseg')
    try:
        decisions = swap_loss(args.config, out, args.auxiliary, args.beside)
    except NotApplicable as error:
        raise NotApplicable(f'{args.config} is left as it is: {error}') from error
    for where, what, why in decisions:
        console.print(f'[bold]{where}[/]: {what} ({why})', highlight=False, soft_wrap=True)
    console.print(f'Wrote {out}:\n')
    console.print(out.read_text(), highlight=False, markup=False, soft_wrap=True)
    child, train = (shlex.quote(str(path)) for path in (out, find_train_tool()))
    theirs = 'path/to/mmsegmentation/tools/train.py'
    for told in (
        f'Train it: python {train} {child}',
        f"or with MMSegmentation's own: python -m mmseg_rmi {theirs} {child}",  # 'mmseg::' bases
    ):
        console.print(told, highlight=False, soft_wrap=True)


if __name__ == '__main__':
    run_tool(main)
