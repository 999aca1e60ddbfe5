"""The action that lists the firmware slots of a meter's communication module."""

from typing import Final

from homeassistant.core import ServiceCall, ServiceResponse

from .fields import METER, schema
from .meters import entry_of

SLOTS_SCHEMA: Final = schema(METER)

_FLAGS: Final = ("active", "confirmed", "pending", "permanent")


async def async_firmware_slots(call: ServiceCall) -> ServiceResponse:
    """Return what is in the slots, in the words of the manual's `image list`."""
    slots = await entry_of(call).runtime_data.meter.firmware.async_slots()
    return {
        "slots": [
            {
                "slot": slot.number,
                "version": slot.version,
                "bootable": slot.bootable,
                "flags": [flag for flag in _FLAGS if getattr(slot, flag)],
                "hash": slot.hash.hex(),
            }
            for slot in slots
        ]
    }
