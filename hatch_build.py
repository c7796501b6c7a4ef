"""Build hook: let mim find the ``.mim`` folder of an editable install."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EditableLocationHook(BuildHookInterface):
    """Record in an editable install where its package lies.

    mim joins the folder that holds the metadata, ``site-packages``, with the first line of
    ``top_level.txt``. The package of an editable install lies elsewhere, so that line is its
    absolute path, which such a join yields unchanged.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add ``top_level.txt`` to an editable wheel; leave a standard one as it is."""
        if version != 'editable':
            return
        top_level = Path(self.directory, 'top_level.txt')
        top_level.parent.mkdir(exist_ok=True)
        top_level.write_text(f'{Path(self.root, "mmseg_rmi")}\n', encoding='utf-8')
        metadata = self.metadata
        dist_info = f'{metadata.name.replace("-", "_")}-{metadata.version}.dist-info'
        build_data['force_include_editable'][str(top_level)] = f'{dist_info}/top_level.txt'
