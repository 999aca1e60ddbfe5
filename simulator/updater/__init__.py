"""The module's update server: SMP over UDP (chapter "Firmware-Update").

It behaves like servers of two ages; the meter has one of them. Only the flash outlives
a loss of power, see `bootloader`.

    server ── port     UDP: one socket receives, one sends, nobody else gets the port
      │  └─── smp      numbers, headers and maps
      ├── commands     the table of commands
      │     ├── image_group  slots: list, test, confirm, erase
      │     └── upload       chunks into slot 1
      ├── life         boots, serves, loses its power
      └── module       shared by all of these: meter, flash, configuration
"""

from .config import Closed, Moment, UpdaterConfig
from .server import UpdaterServer
from .smp import Age, Group, ImageCommand, Op, OsCommand, Rc, UpdateRequest

__all__ = [
    "Age",
    "Closed",
    "Group",
    "ImageCommand",
    "Moment",
    "Op",
    "OsCommand",
    "Rc",
    "UpdateRequest",
    "UpdaterConfig",
    "UpdaterServer",
]
