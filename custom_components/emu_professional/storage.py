"""Files of a config entry: written to the end, and never after its removal."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, override

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN, LOGGER

type _Data = dict[str, Any]

_VERSION: Final = 1
_OTHER_SHAPE: Final = (
    ArithmeticError,
    AttributeError,
    HomeAssistantError,
    KeyError,
    NotImplementedError,
    TypeError,
    ValueError,
)
"""What parsing raises, and Home Assistant for a file of another version."""
_STORES: Final[HassKey[dict[str, EntryStore]]] = HassKey(f"{DOMAIN}.stores")


class EntryStore(Store[_Data]):
    """A file of a config entry.

    Whoever saves may be cancelled at any moment, for instance because the entry is
    disabled: the thread that writes goes on. So a save ends with its thread only,
    and a removal waits for the last one. What is saved after it is left out: the
    file would come back.
    """

    _is_removed = False

    @override
    async def async_save(self, data: _Data) -> None:
        """Save data, to the end even where nobody waits any more."""
        if self._is_removed:
            return
        await async_to_its_end(self.hass, super().async_save(data))

    @callback
    @override
    def async_delay_save(
        self, data_func: Callable[[], _Data], delay: float = 0
    ) -> None:
        """Save data after a delay in seconds, unless the entry is removed by then."""
        if not self._is_removed:
            super().async_delay_save(data_func, delay)

    @override
    async def async_remove(self) -> None:
        """Remove the file for good."""
        self._is_removed = True
        self.hass.data.get(_STORES, {}).pop(self.key, None)
        # A save that is under way has the store's lock: this one comes after it.
        await super().async_save({})
        await super().async_remove()


@callback
def entry_store(hass: HomeAssistant, entry: ConfigEntry, name: str = "") -> EntryStore:
    """Return the store of an entry's file: the same for all who name it."""
    key = f"{DOMAIN}.{entry.entry_id}{name and '.'}{name}"
    stores = hass.data.setdefault(_STORES, {})
    if key not in stores:
        stores[key] = EntryStore(hass, _VERSION, key)
    return stores[key]


async def async_load_or_start_over[ResultT](
    store: Store[Any], parse: Callable[[Any], ResultT]
) -> ResultT | None:
    """Return what `parse` makes of a store's data, or None if there is none.

    Data of another shape or version (a newer release wrote it, a disk was full) is
    as good as none and costs one warning: it must not keep a meter from working.
    """
    try:
        stored = await store.async_load()
        return None if stored is None else parse(stored)
    except _OTHER_SHAPE as err:
        LOGGER.warning("%s can't be used, starting over: %r", store.key, err)
        return None


async def async_to_its_end[ResultT](
    hass: HomeAssistant, work: Coroutine[Any, Any, ResultT]
) -> ResultT:
    """Do work that goes on where its caller is cancelled; the caller waits for it."""
    task = hass.async_create_task(work, "emu_professional work", eager_start=True)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
