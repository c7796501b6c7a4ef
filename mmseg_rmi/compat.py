"""All that differs between the OneDL and the OpenMMLab stacks."""


def prepare_framework() -> None:
    """Make the installed stack fit for the plugin."""
