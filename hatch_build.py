"""Build hook: the tools of a wheel, and how mim finds those of an editable install."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LEFT_OUT = ('__pycache__', 'study')  # the study stands on the checkout's plan and results


class MimHook(BuildHookInterface):
    """Carry all tools but the study, and record where the package of an editable install lies.

    mim joins the folder that holds the metadata, ``site-packages``, with the first line of
    ``top_level.txt``. The package of an editable install lies elsewhere, so that line is its
    absolute path, which such a join yields unchanged.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add ``top_level.txt`` to an editable wheel, and the tools to a standard one."""
        if version != 'editable':
            for path in sorted(Path(self.root, 'tools').iterdir()):
                if path.name not in LEFT_OUT:
                    build_data['force_include'][str(path)] = f'mmseg_rmi/.mim/tools/{path.name}'
            return
        top_level = Path(self.directory, 'top_level.txt')
        top_level.parent.mkdir(exist_ok=True)
        top_level.write_text(f'{Path(self.root, "mmseg_rmi")}\n', encoding='utf-8')
        metadata = self.metadata
        dist_info = f'{metadata.name.replace("-", "_")}-{metadata.version}.dist-info'
        build_data['force_include_editable'][str(top_level)] = f'{dist_info}/top_level.txt'
