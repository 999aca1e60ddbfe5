"""Adding a meter, also a discovered one, and correcting its address or password."""

from collections.abc import Mapping
from typing import Any, Final, override

import voluptuous as vol

from homeassistant.config_entries import ConfigFlowResult
from homeassistant.const import CONF_HOST, CONF_PASSWORD, CONF_PORT
from homeassistant.core import callback
from homeassistant.helpers.device_registry import format_mac
from homeassistant.helpers.selector import TextSelector, TextSelectorConfig
from homeassistant.helpers.service_info.dhcp import DhcpServiceInfo

from .config_entry import EmuConfigEntry
from .const import DOMAIN, NAME
from .emu.errors import MeterError
from .emu.serial_number import is_same_meter
from .failures import flow_error
from .flows.address import parse_host, shown_address
from .flows.discovery import DiscoveryFlow
from .flows.meter_flow import PASSWORD_SELECTOR
from .flows.options import EmuOptionsFlow
from .rediscovery import async_end, async_sighting
from .relocation import async_load_fingerprint

_PASSWORD_ERRORS: Final = ("invalid_auth", "password_again")
"""Errors shown at the password; all others are shown at the address."""

_HOST: Final = TextSelector(TextSelectorConfig(autocomplete="off"))


class EmuConfigFlow(DiscoveryFlow, domain=DOMAIN):
    """Handles a config flow: all of its steps but the password's, in `MeterFlow`."""

    VERSION = 1

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: EmuConfigEntry) -> EmuOptionsFlow:
        """Return the options flow."""
        return EmuOptionsFlow()

    @override
    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the address."""
        errors: dict[str, str] = {}
        if user_input is not None:
            error = await self._async_connect_to(user_input[CONF_HOST])
            if error is None:
                return await self._async_create()
            if error == "invalid_auth":
                return await self.async_step_password()
            errors[CONF_HOST] = error
        return self.async_show_form(
            step_id="user",
            data_schema=self.add_suggested_values_to_schema(
                vol.Schema({vol.Required(CONF_HOST): _HOST}), user_input
            ),
            errors=errors,
        )

    @override
    async def async_step_dhcp(
        self, discovery_info: DhcpServiceInfo
    ) -> ConfigFlowResult:
        """Offer a new meter, or find out whether a known one has moved."""
        self._host = discovery_info.ip
        self._mac = mac = format_mac(discovery_info.macaddress)
        sighting = async_sighting(self.hass, discovery_info)
        if entry := self._entry_with_mac(mac):
            return await self._async_check_known(entry, discovery_info, sighting)
        self._abort_outdated_discoveries(discovery_info)
        # The serial number of a protected meter is known only after its password.
        await self.async_set_unique_id(mac)
        self._abort_if_unique_id_configured()
        error = await self._async_connect()
        if error == "invalid_auth":
            async_end(self.hass, discovery_info)
            # Probably the protected meter of an entry added by hand.
            if self._is_of_entry_without_mac():
                return self.async_abort(reason="already_configured")
            self.context["title_placeholders"] = {"name": f"{NAME} ({self._host})"}
            return await self.async_step_password()
        if self._status is None:
            self._look_again(discovery_info)
            return self.async_abort(reason=error or "unexpected_answer")
        entry = self._entry_of(self._status.serial_number)
        if entry is not None:
            return await self._async_check_known(entry, discovery_info, sighting)
        async_end(self.hass, discovery_info)
        await self.async_set_unique_id(self._status.serial_number)
        return await self.async_step_discovery_confirm()

    async def async_step_discovery_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the discovered meter, and add it if its owner agrees."""
        assert self._status
        if user_input is not None:
            return await self._async_create()
        serial_number = self._status.serial_number
        self.context["title_placeholders"] = {"name": f"{NAME} {serial_number}"}
        return self.async_show_form(
            step_id="discovery_confirm",
            description_placeholders={
                "serial_number": serial_number,
                "host": shown_address(self._host, self._port),
            },
        )

    async def async_step_reauth(
        self, entry_data: Mapping[str, Any]
    ) -> ConfigFlowResult:
        """Handle a wrong password."""
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the new password."""
        entry = self._get_reauth_entry()
        # Read here: the address may have changed while the dialog was open.
        self._host, self._port = entry.data[CONF_HOST], entry.data[CONF_PORT]
        form = await self._async_password_form("reauth_confirm", user_input, entry)
        return form or await self._async_update(entry, {CONF_PASSWORD: self._password})

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Change address or password."""
        entry = self._get_reconfigure_entry()
        data = entry.data
        errors: dict[str, str] = {}
        if user_input is not None:
            error = await self._async_connect_moved(entry, user_input)
            if error is None:
                return await self._async_update(entry, self._data())
            field = CONF_PASSWORD if error in _PASSWORD_ERRORS else CONF_HOST
            errors[field] = error
        address = shown_address(data[CONF_HOST], data[CONF_PORT])
        return self.async_show_form(
            step_id="reconfigure",
            data_schema=self.add_suggested_values_to_schema(
                vol.Schema(
                    {
                        vol.Required(CONF_HOST): _HOST,
                        vol.Optional(CONF_PASSWORD): PASSWORD_SELECTOR,
                    }
                ),
                user_input or {CONF_HOST: address},
            ),
            errors=errors,
        )

    async def _async_connect_moved(
        self, entry: EmuConfigEntry, user_input: dict[str, Any]
    ) -> str | None:
        """Read the status at the address entered; return an error key or None."""
        try:
            self._host, self._port = parse_host(user_input[CONF_HOST])
        except ValueError:
            return "invalid_host"
        stored = entry.data.get(CONF_PASSWORD)
        entered = user_input.get(CONF_PASSWORD)
        self._password = entered or stored
        is_there = (self._host, self._port) == (
            entry.data[CONF_HOST],
            entry.data[CONF_PORT],
        )
        # The stored password goes to a new address only if the device there answers
        # without it as the meter did.
        if stored and not entered and not is_there:
            known = await async_load_fingerprint(self.hass, entry)
            try:
                fingerprint, self._status = await self._client(None).introduction()
            except MeterError as err:
                return flow_error(err)
            if self._status and not is_same_meter(
                self._status.serial_number, entry.unique_id
            ):
                # The mismatch of serial numbers is reported by the next step.
                return None
            if fingerprint != known:
                return "password_again"
        return await self._async_connect()

    async def _async_update(
        self, entry: EmuConfigEntry, changes: dict[str, Any]
    ) -> ConfigFlowResult:
        """Change an entry, unless another meter answers at its address."""
        assert self._status
        await self._async_set_unique_id_of(self._status)
        self._abort_if_unique_id_mismatch(
            description_placeholders={"serial_number": self._status.serial_number}
        )
        return self.async_update_reload_and_abort(entry, data_updates=changes)
