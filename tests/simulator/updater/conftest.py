"""The web server of a meter, and both ages of updaters."""

import pytest

from simulator.updater import Age


@pytest.fixture(params=Age, ids=lambda age: age.name)
def age(request: pytest.FixtureRequest) -> Age:
    """Return both ages, one after the other."""
    return Age(request.param)
