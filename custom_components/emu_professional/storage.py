"""Files of a config entry: complete, checked, and removed with the entry."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, override

import voluptuous as vol

from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store
from homeassistant.util.hass_dict import HassKey

from .config_entry import EmuConfigEntry
from .const import DOMAIN, LOGGER

type _Data = dict[str, Any]

_VERSION: Final = 1
OTHER_SHAPE: Final = (
    ArithmeticError,
    AttributeError,
    HomeAssistantError,
    KeyError,
    NotImplementedError,
    TypeError,
    ValueError,
    vol.Invalid,
)
"""Errors of a check, and of Home Assistant for a file of another version."""

type Check = Callable[[Any], object]
"""Raises an error for data of another shape; a schema, or several in a row."""

TIME: Final = vol.All(int, vol.Range(min=0, max=1 << 32))
"""Seconds since 1970-01-01 UTC, no more than a calendar has."""

_STORES: Final[HassKey[dict[str, EntryStore]]] = HassKey(f"{DOMAIN}.stores")


class CheckedStore(Store[_Data]):
    """A file with a check of its content.

    Data of another shape or version, for instance of another release, counts as
    absent after one warning: it must not keep a meter from working.
    """

    def __init__(self, hass: HomeAssistant, key: str, check: Check) -> None:
        """Initialize a file by its key and the check of its data."""
        super().__init__(hass, _VERSION, key)
        self._check = check
        self._is_reported = False

    @override
    async def async_load(self) -> _Data | None:
        """Return the data, or None if it is absent or of another shape."""
        try:
            if (data := await super().async_load()) is not None:
                self._check(data)
        except OTHER_SHAPE as err:
            if not self._is_reported:
                LOGGER.warning("%s can't be used, starting over: %r", self.key, err)
            self._is_reported = True
            return None
        return data


class EntryStore(CheckedStore):
    """A file of a config entry.

    A task may be cancelled at any moment while its thread continues to write. So a
    save returns only with its thread, and a removal waits for the last save. Later
    saves are ignored: the file would come back.
    """

    def __init__(
        self, hass: HomeAssistant, key: str, check: Check, entry: EmuConfigEntry
    ) -> None:
        """Initialize a file by its key, the check of its data, and its entry."""
        super().__init__(hass, key, check)
        self._entry_id = entry.entry_id

    @property
    def _is_removed(self) -> bool:
        return self.hass.config_entries.async_get_entry(self._entry_id) is None

    @override
    async def async_save(self, data: _Data) -> None:
        """Save data completely, also if the caller is cancelled."""
        if self._is_removed:
            return
        await async_to_its_end(self.hass, super().async_save(data))

    @callback
    @override
    def async_delay_save(
        self, data_func: Callable[[], _Data], delay: float = 0
    ) -> None:
        """Save data after a delay in seconds, unless the entry was removed."""
        if not self._is_removed:
            super().async_delay_save(data_func, delay)

    @override
    async def async_remove(self) -> None:
        """Remove the file for good, with its entry."""
        self.hass.data.get(_STORES, {}).pop(self.key, None)
        # Waits for a save in progress, since both take the store's lock.
        await super().async_save({})
        await super().async_remove()


@callback
def entry_store(
    hass: HomeAssistant, entry: EmuConfigEntry, name: str, check: Check
) -> EntryStore:
    """Return the only store of an entry's file of this name."""
    # The registers' file has no name, as in version 0.1.0.
    key = f"{DOMAIN}.{entry.entry_id}{name and '.'}{name}"
    # Two objects would have two locks for one file.
    stores = hass.data.setdefault(_STORES, {})
    if key not in stores:
        stores[key] = EntryStore(hass, key, check, entry)
    return stores[key]


def shape(**keys: Any) -> Check:
    """Return a check of a dictionary's keys; additional keys are allowed."""
    required = {vol.Required(key): value for key, value in keys.items()}
    schema: Check = vol.Schema(required, extra=vol.ALLOW_EXTRA)
    return schema


async def async_to_its_end[ResultT](
    hass: HomeAssistant, work: Coroutine[Any, Any, ResultT]
) -> ResultT:
    """Run work to its end even if the caller is cancelled; the caller waits for it."""
    # A task of Home Assistant's, so that its stop waits for the work too.
    task = hass.async_create_task(work, "emu_professional work", eager_start=True)
    return await async_until_done(task)


async def async_until_done[ResultT](future: asyncio.Future[ResultT]) -> ResultT:
    """Return the result of running work; a cancelled caller waits for its end as well."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
