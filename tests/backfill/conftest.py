"""The back-fill's calculation and recorder need no integration to be loaded."""

import pytest


@pytest.fixture(autouse=True)
def auto_enable_custom_integrations() -> None:
    """Load nothing: the recorder must be there before Home Assistant is."""
