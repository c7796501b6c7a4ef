"""Run a script with the plugin imported first: ``python -m mmseg_rmi tools/train.py CONFIG``.

OneDL's mmengine looks the package of a base such as ``'mmseg::pspnet/...'`` up under a name that is
not installed. Importing the plugin corrects that, but a config's ``custom_imports`` come after its
bases; so MMSegmentation's own tools need it before they read a config.
"""

import runpy
import sys
from argparse import REMAINDER, ArgumentParser
from pathlib import Path

import mmseg_rmi.registry  # noqa: F401 (or an error that says what is missing)


def main() -> None:
    """Run the script that the command line names, with the arguments behind it."""
    parser = ArgumentParser(
        prog='python -m mmseg_rmi', description='Run a script with the plugin imported first.'
    )
    parser.add_argument('script', help="a Python file, such as MMSegmentation's tools/train.py")
    parser.add_argument('arguments', nargs=REMAINDER, help='the arguments of the script')
    script = parser.parse_args().script
    if not Path(script).is_file():
        parser.error(f'there is no file {script}')
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    main()
