"""Street scenes for the tools to work on."""

from pathlib import Path

import pytest

from helpers.tool_runs import load_tool


@pytest.fixture(scope='session')
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 12 scenes to train on and 4 to test on."""
    folder = tmp_path_factory.mktemp('scenes')
    generator = load_tool('dataset_converters/street_scenes.py')
    for split, count in [('train', 12), ('val', 4)]:
        generator.write_split(folder, split, count, size=(144, 192), entropy=(0, count))
    return folder
