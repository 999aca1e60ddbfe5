# Home Assistant puts probatio in the place of voluptuous: mypy shall see its types.
from probatio import *  # noqa: F403
