import pytest


@pytest.fixture(autouse=True)
def scope(mmseg_scope):
    """Names of metrics are mmseg's."""
