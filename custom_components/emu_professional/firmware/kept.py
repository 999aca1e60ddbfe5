"""The firmware image, kept once for all meters and over restarts."""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.event import async_track_time_interval
from homeassistant.helpers.singleton import singleton
from homeassistant.helpers.storage import Store
from homeassistant.util import dt as dt_util
from homeassistant.util.hass_dict import HassKey

from ..const import DOMAIN, LOGGER
from ..emu.errors import FirmwareRefused
from ..emu.updater.image import LARGEST_FILE, Image, Version, read_firmware
from ..storage import OTHER_SHAPE, async_to_its_end
from . import vendor
from .observable import Observable

CHECK_INTERVAL: Final = timedelta(days=1)
"""The shortest time between two requests to the vendor's address."""

_STORE_VERSION: Final = 1
_STORE_KEY: Final = f"{DOMAIN}.firmware"
# Short, so that a check that was due while Home Assistant was off comes soon.
_TICK: Final = timedelta(hours=1)


class ImageSource(StrEnum):
    """Where an image came from."""

    UPLOAD = "upload"
    DOWNLOAD = "download"


@dataclass(frozen=True, slots=True)
class _State:
    image: Image | None = None
    source: ImageSource | None = None
    when: datetime | None = None
    unfit_for: frozenset[str] = frozenset()
    """Serial numbers of the meters that are not to get the image again."""
    is_checked_daily: bool = False
    checked: datetime | None = None
    """When the vendor's address was asked last, UTC."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """Those that the vendor's last image came with (see `vendor.Download`)."""
    skipped: Version | None = None
    """Version of the vendor's last image if it was not kept: ours was newer."""

    @property
    def next_conditions(self) -> Mapping[str, str]:
        """Conditions of the next download.

        Empty if the vendor's last image would be kept today: "not modified" must not
        hide it. An image that was kept before is hidden, also if it is newer than ours:
        the owner has gone back from it.
        """
        if self.image is None or (self.skipped and self.skipped > self.image.version):
            return {}
        return self.conditions


class FirmwareStore(Observable):
    """One image for all meters, kept over restarts.

    A stored image passes the same checks again as at first. Listeners are called at
    each change of the image.
    """

    def __init__(self, hass: HomeAssistant) -> None:
        """Initialize without an image."""
        super().__init__()
        self._hass = hass
        self._state = _State()
        self._store: Store[dict[str, Any]] = Store(
            hass,
            _STORE_VERSION,
            _STORE_KEY,
            # A power failure must not take the image, nor a megabyte the event loop.
            atomic_writes=True,
            serialize_in_event_loop=False,
        )
        self._check: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    @property
    def image(self) -> Image | None:
        """The image for updates of the meters."""
        return self._state.image

    @property
    def source(self) -> ImageSource | None:
        """Where the image came from."""
        return self._state.source

    @property
    def when(self) -> datetime | None:
        """When the image came, UTC."""
        return self._state.when

    @property
    def is_checked_daily(self) -> bool:
        """Whether the vendor's address is checked for newer firmware."""
        return self._state.is_checked_daily

    def is_unfit_for(self, serial_number: str) -> bool:
        """Return whether a meter is not to get the image until it is given again.

        The meter has refused it or tried it in vain, or its owner has taken it back.
        """
        return serial_number in self._state.unfit_for

    async def async_load(self) -> None:
        """Load the kept image; a damaged file is as good as none."""
        try:
            if stored := await self._store.async_load():
                self._state = await self._hass.async_add_executor_job(_parse, stored)
        except (*OTHER_SHAPE, FirmwareRefused) as err:
            LOGGER.warning("The firmware that was kept can't be used: %r", err)
        self._notify()

    @callback
    def async_start(self) -> None:
        """Check the vendor's address from now on, if the owner wants that."""
        async_track_time_interval(
            self._hass, self._check_if_due, _TICK, cancel_on_shutdown=True
        )

    async def async_keep(self, image: Image, source: ImageSource) -> None:
        """Keep an image instead of the one before."""
        await self._async_keep(image, source)

    async def _async_keep(
        self, image: Image, source: ImageSource, **changes: Any
    ) -> None:
        """Keep an image, and make other changes in the same write."""
        await self._async_change(
            image=image,
            source=source,
            when=dt_util.utcnow(),
            unfit_for=frozenset(),
            **changes,
        )
        self._notify()

    async def async_note_unfit(self, serial_number: str, hash: bytes) -> None:
        """Note that an image is unfit for a meter, until it is given again."""
        if self.image and self.image.hash == hash:
            unfit_for = self._state.unfit_for | {serial_number}
            await self._async_change(unfit_for=unfit_for)
            self._notify()

    async def async_remove(self) -> None:
        """Forget the image; a daily check may bring the vendor's again."""
        await self._async_change(
            image=None,
            source=None,
            when=None,
            unfit_for=frozenset(),
            conditions={},
            skipped=None,
        )
        self._notify()

    async def async_check_daily(self, *, wanted: bool) -> None:
        """Set whether the vendor's address is checked; check at once if it is due."""
        await self._async_change(is_checked_daily=wanted)
        self._check_if_due()

    async def async_delete(self) -> None:
        """Forget everything, and end a running download: the last meter was removed."""
        if self._check:
            # No download outlives the last meter.
            self._check.cancel()
            await asyncio.wait((self._check,))
        self._state = _State()
        async with self._writing:
            await self._store.async_remove()

    async def _async_change(self, **changes: Any) -> None:
        # Without a meter nothing is kept: the file would outlive the integration.
        if self.has_meters():
            self._state = replace(self._state, **changes)
            await async_to_its_end(self._hass, self._async_save())

    async def _async_save(self) -> None:
        async with self._writing:
            # The last meter may have been removed while another write went on.
            if self.has_meters():
                await self._store.async_save(_serialize(self._state))

    def has_meters(self) -> bool:
        """Return whether there are any meters to keep firmware for."""
        return bool(
            self._hass.config_entries.async_entries(DOMAIN, include_ignore=False)
        )

    @callback
    def _check_if_due(self, _now: datetime | None = None) -> None:
        now = dt_util.utcnow()
        checked = self._state.checked
        # A check in the future was noted by a clock that was ahead.
        is_early = checked and timedelta(0) <= now - checked < CHECK_INTERVAL
        if is_early or not self.is_checked_daily or not self._is_loaded():
            return
        # Before the task begins, so that the next tick starts no second one.
        self._state = replace(self._state, checked=now)
        self._check = self._hass.async_create_background_task(
            self._async_check(), "emu_professional firmware check"
        )

    def _is_loaded(self) -> bool:
        # With all meters disabled, nothing is asked of the internet.
        return bool(self._hass.config_entries.async_loaded_entries(DOMAIN))

    async def _async_check(self) -> None:
        """Keep the vendor's image if it is newer."""
        # Nothing changes but `checked`, stored now: also a failed or interrupted check
        # was the day's only one.
        await self._async_change()
        conditions = self._state.next_conditions
        download = await vendor.async_download(self._hass, conditions)
        if download is None:
            return
        conditions, version = download.conditions, download.image.version
        if self.image is None or version > self.image.version:
            # In one change: with the conditions alone, the image would never come.
            await self._async_keep(
                download.image,
                ImageSource.DOWNLOAD,
                conditions=conditions,
                skipped=None,
            )
            LOGGER.info("Firmware %s is there: %s", version, vendor.VENDOR_URL)
            return
        # Never an older one: the owner may have a newer image from elsewhere. An owner
        # who goes back from the same version goes back from the vendor's as well.
        skipped = version if version < self.image.version else None
        # An unchanged file need not come again.
        await self._async_change(conditions=conditions, skipped=skipped)


_FIRMWARE_STORE: HassKey[FirmwareStore] = HassKey(_STORE_KEY)


@singleton(_FIRMWARE_STORE)
@callback
def firmware_store(hass: HomeAssistant) -> FirmwareStore:
    """Return the only firmware store."""
    return FirmwareStore(hass)


def read_firmware_file(path: Path) -> Image:
    """Return the image of a firmware file.

    Blocks, and reads no more than a firmware file can have. Raises OSError and
    FirmwareRefused.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    return read_firmware(content)


def _serialize(state: _State) -> dict[str, Any]:
    image = base64.b64encode(state.image.data).decode() if state.image else None
    return {
        "image": image,
        "source": state.source,
        "when": state.when and state.when.isoformat(),
        "unfit_for": sorted(state.unfit_for),
        "is_checked_daily": state.is_checked_daily,
        "checked": state.checked and state.checked.isoformat(),
        "conditions": dict(state.conditions),
        "skipped": state.skipped and str(state.skipped),
    }


def _parse(stored: Mapping[str, Any]) -> _State:
    state = _State(
        is_checked_daily=stored["is_checked_daily"] is True,
        checked=_time(stored["checked"]),
        conditions={
            str(key): str(value) for key, value in stored["conditions"].items()
        },
        # Not in the files of version 1.0.0
        skipped=Version.parse(stored["skipped"]) if stored.get("skipped") else None,
    )
    if "skipped" not in stored and stored["source"] != ImageSource.DOWNLOAD:
        # What image these conditions came with is unknown.
        state = replace(state, conditions={})
    if stored["image"] is None:
        return state
    return replace(
        state,
        image=read_firmware(base64.b64decode(stored["image"])),
        source=ImageSource(stored["source"]),
        when=_time(stored["when"]),
        # Not in the files of version 0.1.0
        unfit_for=frozenset(map(str, stored.get("unfit_for", ()))),
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else dt_util.as_utc(datetime.fromisoformat(text))
