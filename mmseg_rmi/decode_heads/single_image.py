"""Batches of one image, which batch normalisation of pooled features cannot take."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def explaining_single_images() -> Iterator[None]:
    """Say what to do where torch refuses to normalise one value per channel.

    Raises:
        ValueError: a batch, such as the last of an epoch, has one image, and features pooled to one
            pixel have no variance in it.

    Example:
        >>> from torch import nn, zeros
        >>> with explaining_single_images():  # doctest: +ELLIPSIS
        ...     nn.BatchNorm2d(3)(zeros(1, 3, 1, 1))
        Traceback (most recent call last):
        ValueError: a batch of one image cannot be trained on with batch normalisation of image-...
    """
    try:
        yield
    except ValueError as error:
        if 'more than 1 value per channel' not in str(error):
            raise
        raise ValueError(
            'a batch of one image cannot be trained on with batch normalisation of image-level '
            'features: set train_dataloader.drop_last=True where the last batch of an epoch is '
            'that small, else a larger batch_size, or another norm_cfg of the head'
        ) from error
