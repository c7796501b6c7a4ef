"""Exact resumption: random states in checkpoints, and augmentation without a state."""

from typing import Any

import torch
from mmengine.dist import all_gather_object, broadcast
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from mmseg_rmi.compat import ResumedBatches, drops_trained_batches
from mmseg_rmi.hooks.random_state import RandomState, process_state, set_process_state
from mmseg_rmi.hooks.seeded_loader import endless_seeded_loader, seeded_loader

KEY = 'random_states'


@HOOKS.register_module()
class RNGStateHook(Hook):
    """Let a run that was killed and resumed end with the weights of an uninterrupted one.

    mmengine's checkpoints contain no random states. For each rank, this hook adds those of Python,
    NumPy, PyTorch and the GPU, and restores them on resume and after validation, which draws from
    them. It replaces the training loader by one whose augmentation depends only on the seed, the
    rank and the number of the sample, so that a resumed run loads nothing twice.

    The weights agree bit for bit where the device computes deterministically (CPUs do; on GPUs set
    ``randomness=dict(deterministic=True)``) and the number of processes stays the same.

    Raises:
        ValueError: at the start of training, the runner was not built from a config.

    Example:
        >>> custom_hooks = [dict(type='RNGStateHook')]
    """

    def __init__(self) -> None:
        self._loaded: list[RandomState] | None = None
        # One state per rank after the latest iteration, if it was needed.
        self._states: list[RandomState] | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the states in case the run resumes from this checkpoint."""
        self._loaded = checkpoint.get(KEY)

    def before_train(self, runner: Runner) -> None:
        """Replace the training loader and, in a resumed run, restore the states."""
        _seed_samples(runner)
        if runner.iter == 0:
            return
        if self._loaded is None or len(self._loaded) != runner.world_size:
            saved = 0 if self._loaded is None else len(self._loaded)
            runner.logger.warning(
                f'The checkpoint holds the random states of {saved} processes and the run has '
                f'{runner.world_size}: it continues with other random numbers than an '
                'uninterrupted run would.'
            )
            return
        set_process_state(self._loaded[runner.rank])

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Forget the states of the previous iteration."""
        self._states = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Gather the states before a checkpoint, which the main process saves alone."""
        if any(_is_due(hook, runner) for hook in runner.hooks):
            self._gather()

    def after_train_epoch(self, runner: Runner) -> None:
        """Gather the states before a checkpoint at the end of an epoch."""
        self._gather()

    def before_val(self, runner: Runner) -> None:
        """Gather the states with which training will continue."""
        self._gather()

    def after_val(self, runner: Runner) -> None:
        """Undo what validation drew, such as the base seed of its workers."""
        if self._states is not None:
            set_process_state(self._states[runner.rank])

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the states to the checkpoint."""
        if runner.world_size == 1:
            self._gather()
        checkpoint[KEY] = self._states

    def _gather(self) -> None:
        if self._states is None:
            self._states = all_gather_object(process_state())


def _seed_samples(runner: Runner) -> None:
    loop = runner.train_loop
    shared = torch.tensor(runner.seed)
    broadcast(shared)  # with diff_rank_seed, ranks have their own seeds, but one for the sampler
    seed = int(shared)
    # Built anew: the loop's may have been used already, and has the seed from before resumption.
    settings = runner.cfg.get('train_dataloader')
    if settings is None:
        raise ValueError(
            'RNGStateHook builds the training loader from the config of the run, and there is no '
            'train_dataloader in it: build the runner with Runner.from_cfg, or leave out the hook'
        )
    loader = runner.build_dataloader(settings, seed=seed)
    entropy = (seed, runner.rank)
    if not hasattr(loop, 'dataloader_iterator'):
        loop.dataloader = seeded_loader(loader, entropy, runner.iter)
        return
    trained = runner.iter if drops_trained_batches(loop) else 0
    loop.dataloader = endless_seeded_loader(loader, entropy, trained)
    loop.dataloader_iterator = ResumedBatches(loop.dataloader, trained)


def _is_due(hook: Hook, runner: Runner) -> bool:
    """Tell whether ``hook`` is going to save a checkpoint after this iteration."""
    return (
        isinstance(hook, CheckpointHook)
        and not hook.by_epoch
        and (
            hook.every_n_train_iters(runner, hook.interval, hook.save_begin)
            or (hook.save_last and hook.is_last_train_iter(runner))
        )
    )
