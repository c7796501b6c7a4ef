"""Folders by name, as command lines give them."""

from collections.abc import Sequence
from pathlib import Path


def parse_named_folders(arguments: Sequence[str]) -> dict[str, Path]:
    """Read ``NAME=FOLDER`` arguments.

    Raises:
        ValueError: one is not of that form, or a name comes twice.

    >>> parse_named_folders(['CE=runs/ce', 'RMI=runs/rmi'])
    {'CE': PosixPath('runs/ce'), 'RMI': PosixPath('runs/rmi')}
    """
    folders: dict[str, Path] = {}
    for argument in arguments:
        name, _, folder = argument.partition('=')
        if not name or not folder:
            raise ValueError(f'expected NAME=FOLDER, got {argument!r}')
        if name in folders:
            raise ValueError(f'two folders are called {name!r}')
        folders[name] = Path(folder)
    return folders
