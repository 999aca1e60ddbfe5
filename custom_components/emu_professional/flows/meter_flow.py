"""The common part of all dialogs with a meter."""

from collections.abc import Callable
from typing import Any, Final

import voluptuous as vol

from homeassistant.config_entries import (
    SOURCE_DHCP,
    SOURCE_IGNORE,
    SOURCE_USER,
    ConfigFlow,
    ConfigFlowResult,
)
from homeassistant.const import CONF_HOST, CONF_MAC, CONF_PASSWORD, CONF_PORT
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.device_registry import format_mac
from homeassistant.helpers.selector import (
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
from homeassistant.helpers.service_info.dhcp import DhcpServiceInfo

from ..config_entry import EmuConfigEntry
from ..const import DOMAIN, LOGGER, NAME
from ..emu.client import MeterClient
from ..emu.errors import MeterError
from ..emu.readings import Status
from ..emu.serial_number import is_same_meter
from ..failures import flow_error
from ..relocation import (
    async_has_left,
    async_load_fingerprint,
    async_relocate,
    is_status_of,
)
from .address import parse_host, shown_address

DEFAULT_PORT: Final = 80

PASSWORD_SELECTOR: Final = TextSelector(
    TextSelectorConfig(type=TextSelectorType.PASSWORD, autocomplete="current-password")
)
_PASSWORD_SCHEMA: Final = vol.Schema({vol.Required(CONF_PASSWORD): PASSWORD_SELECTOR})


class MeterFlow(ConfigFlow):
    """A dialog with a meter: its address, its password, and its answer."""

    def __init__(self) -> None:
        """Begin without a meter."""
        self._host = ""
        self._port = DEFAULT_PORT
        self._password: str | None = None
        self._mac: str | None = None
        self._status: Status | None = None

    async def async_step_password(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the password of a meter with access protection."""
        form = await self._async_password_form("password", user_input)
        return form or await self._async_create()

    async def _async_password_form(
        self,
        step_id: str,
        user_input: dict[str, Any] | None,
        entry: EmuConfigEntry | None = None,
    ) -> ConfigFlowResult | None:
        """Show the form for the password; return None once the meter accepts it."""
        errors: dict[str, str] = {}
        if user_input is not None:
            self._password = user_input[CONF_PASSWORD]
            # A device in the meter's place must not get the password of an entry.
            error = await self._async_recognize(entry) if entry else None
            if error is None and (error := await self._async_connect()) is None:
                return None
            errors[CONF_PASSWORD if error == "invalid_auth" else "base"] = error
        return self.async_show_form(
            step_id=step_id,
            data_schema=_PASSWORD_SCHEMA,
            description_placeholders={"host": shown_address(self._host, self._port)},
            errors=errors,
        )

    async def _async_recognize(self, entry: EmuConfigEntry) -> str | None:
        """Return an error key unless the device answers like the entry's meter.

        It is asked without a password.
        """
        if (known := await async_load_fingerprint(self.hass, entry)) is None:
            return None
        try:
            fingerprint, status = await self._client(None).introduction()
        except MeterError as err:
            return flow_error(err)
        if status and is_same_meter(status.serial_number, entry.unique_id):
            return None
        return None if fingerprint == known else "answers_differently"

    async def _async_connect_to(self, host: str) -> str | None:
        """Read the status at an address as typed; return an error key or None."""
        try:
            self._host, self._port = parse_host(host)
        except ValueError:
            return "invalid_host"
        return await self._async_connect()

    async def _async_connect(self) -> str | None:
        """Read the status of the meter; return an error key, or None on success."""
        client = self._client(self._password)
        try:
            self._status = await client.status()
        except MeterError as err:
            LOGGER.debug("%s: %s", client.url, err)
            return flow_error(err)
        if self._status.mac:
            self._mac = format_mac(self._status.mac)
        return None

    def _client(self, password: str | None) -> MeterClient:
        session = async_get_clientsession(self.hass)
        return MeterClient(session, self._host, self._port, password)

    async def _async_create(self) -> ConfigFlowResult:
        """Create the meter's entry, or correct the address of an existing one."""
        assert self._status
        await self._async_set_unique_id_of(self._status)
        self._abort_answered_discoveries()
        entry = self._entry_of(self._status.serial_number)
        # An ignored meter can be added by hand.
        if entry is None or (
            entry.source == SOURCE_IGNORE and self.source == SOURCE_USER
        ):
            return self.async_create_entry(
                title=f"{NAME} {self.unique_id}", data=self._data()
            )
        await self._async_follow_owner(entry, self._status)
        return self.async_abort(reason="already_configured")

    async def _async_follow_owner(self, entry: EmuConfigEntry, status: Status) -> None:
        """Move an entry to the address found by its owner."""
        # Without a password in this dialog the device has not proved to be the meter,
        # and must not get the stored one at the next set-up.
        is_trusted = self._password or not entry.data.get(CONF_PASSWORD)
        if not is_trusted or not is_status_of(entry, status, None):
            return
        if self.source == SOURCE_USER or await async_has_left(
            self.hass, entry, self._port
        ):
            async_relocate(self.hass, entry, self._data())

    async def _async_set_unique_id_of(self, status: Status) -> None:
        """Set the serial number as unique id, in the form of an existing entry."""
        entry = self._entry_of(status.serial_number)
        await self.async_set_unique_id(
            entry.unique_id if entry else status.serial_number,
            raise_on_progress=self.source == SOURCE_DHCP,
        )

    def _entry_of(self, serial_number: str) -> EmuConfigEntry | None:
        """Return the entry of a meter; its serial number may have another form."""
        entries = self._async_current_entries(include_ignore=True)
        same = (e for e in entries if is_same_meter(e.unique_id, serial_number))
        return next(same, None)

    def _abort_answered_discoveries(self) -> None:
        """Remove the discovery cards of a meter added in another way."""
        for flow in self._other_discoveries(
            lambda info: (
                info.ip == self._host or format_mac(info.macaddress) == self._mac
            )
        ):
            self.hass.config_entries.flow.async_abort(flow["flow_id"])

    def _other_discoveries(
        self, matcher: Callable[[DhcpServiceInfo], bool]
    ) -> list[ConfigFlowResult]:
        """Return the other discoveries in progress, shown to the owner as cards."""
        flows = self.hass.config_entries.flow.async_progress_by_init_data_type(
            DhcpServiceInfo, matcher, include_uninitialized=True
        )
        return [
            flow
            for flow in flows
            if flow["handler"] == DOMAIN and flow["flow_id"] != self.flow_id
        ]

    def _data(self) -> dict[str, Any]:
        """Return the data of a config entry."""
        data: dict[str, Any] = {CONF_HOST: self._host, CONF_PORT: self._port}
        if self._password:
            data[CONF_PASSWORD] = self._password
        if self._mac:
            data[CONF_MAC] = self._mac
        return data
