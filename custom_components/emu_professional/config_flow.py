"""Adding a meter, correcting its address or password, and its options."""

from collections.abc import Callable, Mapping
import re
from typing import Any, override

import voluptuous as vol
from yarl import URL

from homeassistant.components.file_upload import process_uploaded_file
from homeassistant.config_entries import (
    SOURCE_DHCP,
    SOURCE_IGNORE,
    SOURCE_USER,
    ConfigEntry,
    ConfigEntryState,
    ConfigFlow,
    ConfigFlowResult,
    OptionsFlowWithReload,
)
from homeassistant.const import CONF_HOST, CONF_MAC, CONF_PASSWORD, CONF_PORT
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.device_registry import format_mac
from homeassistant.helpers.selector import (
    BooleanSelector,
    FileSelector,
    FileSelectorConfig,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
from homeassistant.helpers.service_info.dhcp import DhcpServiceInfo

from .const import CONF_AUTOMATIC, CONF_COSTS, DOMAIN, LOGGER, NAME
from .emu.client import MeterClient
from .emu.errors import FirmwareRefused, MeterError, MeterForbidden
from .emu.readings import Status
from .emu.serial_number import is_same_meter
from .emu.updater.image import Image
from .failures import flow_error
from .firmware.kept import Source, firmware_store, read_firmware_file
from .rediscovery import Sighting, async_end, async_look_again, async_sighting
from .relocation import (
    Verdict,
    async_has_left,
    async_judge,
    async_load_fingerprint,
    async_relocate,
    is_ip_address,
    is_status_of,
)

_OF_PASSWORD = ("invalid_auth", "password_again")
"""Errors that the owner answers with a password."""

DEFAULT_PORT = 80

_CHECK_FOR_FIRMWARE = "check_for_firmware"
_FIRMWARE_FILE = "firmware_file"
_REMOVE_FIRMWARE = "remove_firmware"

_LONGEST_NAME = 253
_NAME = re.compile(r"[\w-]+(\.[\w-]+)*\.?")

_HOST = TextSelector(TextSelectorConfig(autocomplete="off"))
_PASSWORD = TextSelector(
    TextSelectorConfig(type=TextSelectorType.PASSWORD, autocomplete="current-password")
)
_PASSWORD_SCHEMA = vol.Schema({vol.Required(CONF_PASSWORD): _PASSWORD})


def parse_host(text: str) -> tuple[str, int]:
    """Return host and port of what an owner typed or pasted.

    An IP address or a name, with or without a port, or a whole address of the
    meter's web page. Raises ValueError for anything else.
    """
    *_, text = text.strip().rpartition("://")
    if text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    try:
        url = URL(f"http://{text}")
    except IndexError as err:
        # What yarl makes of some addresses without an end.
        raise ValueError(text) from err
    if not url.host or not url.port or len(url.host) > _LONGEST_NAME:
        raise ValueError(text)
    if ":" not in url.host and not _NAME.fullmatch(url.host):
        raise ValueError(text)
    return url.host, url.port


def _shown(host: str, port: int) -> str:
    """Return host and port as an owner would write them."""
    return str(URL.build(scheme="http", host=host, port=port)).removeprefix("http://")


class EmuConfigFlow(ConfigFlow, domain=DOMAIN):
    """Handles a config flow."""

    VERSION = 1

    def __init__(self) -> None:
        """Begin without a meter."""
        self._host = ""
        self._port = DEFAULT_PORT
        self._password: str | None = None
        self._mac: str | None = None
        self._status: Status | None = None

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> EmuOptionsFlow:
        """Return the options flow."""
        return EmuOptionsFlow()

    @override
    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the address."""
        errors: dict[str, str] = {}
        if user_input is not None:
            error = await self._async_ask_at(user_input[CONF_HOST])
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

    async def async_step_password(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the password of a meter with access protection."""
        form = await self._async_password_form("password", user_input)
        return form or await self._async_create()

    @override
    async def async_step_dhcp(
        self, discovery_info: DhcpServiceInfo
    ) -> ConfigFlowResult:
        """Meet a new meter, or a known one that may be at a new address."""
        self._host = discovery_info.ip
        self._mac = mac = format_mac(discovery_info.macaddress)
        sighting = async_sighting(self.hass, discovery_info)
        if entry := self._entry_met_by_dhcp(mac):
            return await self._async_meet_again(entry, discovery_info, sighting)
        self._abort_outdated_discoveries(discovery_info)
        # A meter with access protection tells its serial number only afterwards.
        await self.async_set_unique_id(mac)
        self._abort_if_unique_id_configured()
        error = await self._async_ask()
        if error == "invalid_auth":
            async_end(self.hass, discovery_info)
            if self._is_of_entry_without_mac():
                return self.async_abort(reason="already_configured")
            self.context["title_placeholders"] = {"name": f"{NAME} ({self._host})"}
            return await self.async_step_password()
        if self._status is None:
            self._look_again(discovery_info)
            return self.async_abort(reason=error or "unexpected_answer")
        entry = self._entry_of(self._status.serial_number)
        if entry is not None:
            return await self._async_meet_again(entry, discovery_info, sighting)
        async_end(self.hass, discovery_info)
        await self.async_set_unique_id(self._status.serial_number)
        return await self.async_step_discovery_confirm()

    async def _async_meet_again(
        self, entry: ConfigEntry, info: DhcpServiceInfo, sighting: Sighting
    ) -> ConfigFlowResult:
        """Find out whether a known meter has moved, and let its entry follow it."""
        await self.async_set_unique_id(entry.unique_id, raise_on_progress=False)
        if entry.source == SOURCE_IGNORE:
            async_end(self.hass, info)
            return self.async_abort(reason="already_configured")
        before, mac = entry.data, format_mac(info.macaddress)
        verdict = await async_judge(
            self.hass, entry, info.ip, mac, last=sighting.is_last_look
        )
        if verdict is Verdict.UNCLEAR:
            self._look_again(info)
            return self.async_abort(reason="already_configured")
        async_end(self.hass, info)
        # Its owner may have changed or removed it meanwhile.
        is_there = self.hass.config_entries.async_get_entry(entry.entry_id) is entry
        if is_there and entry.data == before:
            if verdict is Verdict.MOVED:
                changes = {CONF_HOST: info.ip, CONF_MAC: before.get(CONF_MAC, mac)}
                async_relocate(self.hass, entry, changes)
            else:
                self._note_presence(entry, mac)
        return self.async_abort(reason="already_configured")

    def _note_presence(self, entry: ConfigEntry, mac: str) -> None:
        """Learn from a meter that was met where it is by its entry."""
        host = entry.data[CONF_HOST]
        if is_ip_address(host) and host != self._host:
            return
        if (
            CONF_MAC not in entry.data
            and self._status
            and is_status_of(entry, self._status, mac)
        ):
            async_relocate(self.hass, entry, {CONF_MAC: mac})
        if entry.state is ConfigEntryState.SETUP_RETRY:
            self.hass.config_entries.async_schedule_reload(entry.entry_id)

    def _look_again(self, info: DhcpServiceInfo) -> None:
        async_look_again(self.hass, info, self.context.get("discovery_key"))

    async def async_step_discovery_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show what was found, and add it if that is wanted."""
        assert self._status
        if user_input is not None:
            return await self._async_create()
        serial_number = self._status.serial_number
        self.context["title_placeholders"] = {"name": f"{NAME} {serial_number}"}
        return self.async_show_form(
            step_id="discovery_confirm",
            description_placeholders={
                "serial_number": serial_number,
                "host": _shown(self._host, self._port),
            },
        )

    async def async_step_reauth(
        self, entry_data: Mapping[str, Any]
    ) -> ConfigFlowResult:
        """Handle a password that is no longer the right one."""
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the new password; the address may have changed meanwhile."""
        entry = self._get_reauth_entry()
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
            error = await self._async_ask_moved(entry, user_input)
            if error is None:
                return await self._async_update(entry, self._data())
            field = CONF_PASSWORD if error in _OF_PASSWORD else CONF_HOST
            errors[field] = error
        return self.async_show_form(
            step_id="reconfigure",
            data_schema=self.add_suggested_values_to_schema(
                vol.Schema(
                    {
                        vol.Required(CONF_HOST): _HOST,
                        vol.Optional(CONF_PASSWORD): _PASSWORD,
                    }
                ),
                user_input or {CONF_HOST: _shown(data[CONF_HOST], data[CONF_PORT])},
            ),
            errors=errors,
        )

    async def _async_password_form(
        self,
        step_id: str,
        user_input: dict[str, Any] | None,
        entry: ConfigEntry | None = None,
    ) -> ConfigFlowResult | None:
        """Ask for the password; return None once the meter accepts it.

        Where it is known how an entry's meter asks for it, nobody else gets it.
        """
        errors: dict[str, str] = {}
        if user_input is not None:
            self._password = user_input[CONF_PASSWORD]
            error = await self._async_recognize(entry) if entry else None
            if error is None and (error := await self._async_ask()) is None:
                return None
            errors[CONF_PASSWORD if error == "invalid_auth" else "base"] = error
        return self.async_show_form(
            step_id=step_id,
            data_schema=_PASSWORD_SCHEMA,
            description_placeholders={"host": _shown(self._host, self._port)},
            errors=errors,
        )

    async def _async_recognize(self, entry: ConfigEntry) -> str | None:
        """Return an error if what answers without a password is not the entry's meter."""
        if (known := await async_load_fingerprint(self.hass, entry)) is None:
            return None
        try:
            fingerprint, status = await self._client(None).introduction()
        except MeterError as err:
            return flow_error(err)
        if status and is_same_meter(status.serial_number, entry.unique_id):
            return None
        return None if fingerprint == known else "answers_differently"

    async def _async_ask_moved(
        self, entry: ConfigEntry, user_input: dict[str, Any]
    ) -> str | None:
        """Ask at the address that the owner entered; return which error that met.

        The stored password goes to no other address than before, unless the answer
        there without it is as it was here.
        """
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
        if stored and not entered and not is_there:
            known = await async_load_fingerprint(self.hass, entry)
            try:
                fingerprint, self._status = await self._client(None).introduction()
            except MeterError as err:
                return flow_error(err)
            if self._status and not is_same_meter(
                self._status.serial_number, entry.unique_id
            ):
                return None
            if fingerprint != known:
                return "password_again"
        return await self._async_ask()

    def _entry_met_by_dhcp(self, mac: str) -> ConfigEntry | None:
        """Return whose meter has this MAC address, so that it need not be asked."""
        for entry in self._async_current_entries(include_ignore=True):
            known = entry.data.get(CONF_MAC)
            if mac in (known, entry.unique_id):
                return entry
        return None

    def _is_of_entry_without_mac(self) -> bool:
        """Whether an entry whose MAC address is not known yet has this address."""
        return any(
            entry.data[CONF_HOST] == self._host and CONF_MAC not in entry.data
            for entry in self._async_current_entries(include_ignore=False)
        )

    def _entry_of(self, serial_number: str) -> ConfigEntry | None:
        """Return the meter's entry, whichever form its serial number had then."""
        entries = self._async_current_entries(include_ignore=True)
        same = (e for e in entries if is_same_meter(e.unique_id, serial_number))
        return next(same, None)

    async def _async_set_unique_id_of(self, status: Status) -> None:
        """Take over whose dialog this is: that of an entry as it was stored."""
        entry = self._entry_of(status.serial_number)
        await self.async_set_unique_id(
            entry.unique_id if entry else status.serial_number,
            raise_on_progress=self.source == SOURCE_DHCP,
        )

    def _discoveries(
        self, matcher: Callable[[DhcpServiceInfo], bool]
    ) -> list[ConfigFlowResult]:
        """Return the other discoveries under way that an owner may see as cards."""
        flows = self.hass.config_entries.flow.async_progress_by_init_data_type(
            DhcpServiceInfo, matcher, include_uninitialized=True
        )
        return [
            flow
            for flow in flows
            if flow["handler"] == DOMAIN and flow["flow_id"] != self.flow_id
        ]

    def _abort_outdated_discoveries(self, info: DhcpServiceInfo) -> None:
        """Take back the card of a meter that has got another address meanwhile."""
        for flow in self._discoveries(
            lambda other: other.macaddress == info.macaddress and other.ip != info.ip
        ):
            # Unless its owner is about to answer it.
            if not flow["context"].get("dismiss_protected"):
                self.hass.config_entries.flow.async_abort(flow["flow_id"])

    def _abort_answered_discoveries(self) -> None:
        """Take back the cards of a meter that was added in another way."""
        for flow in self._discoveries(
            lambda info: (
                info.ip == self._host or format_mac(info.macaddress) == self._mac
            )
        ):
            self.hass.config_entries.flow.async_abort(flow["flow_id"])

    async def _async_ask_at(self, host: str) -> str | None:
        try:
            self._host, self._port = parse_host(host)
        except ValueError:
            return "invalid_host"
        return await self._async_ask()

    def _client(self, password: str | None) -> MeterClient:
        session = async_get_clientsession(self.hass)
        return MeterClient(session, self._host, self._port, password)

    async def _async_ask(self) -> str | None:
        """Ask for the status and return which error that met."""
        client = self._client(self._password)
        try:
            self._status = await client.status()
        except MeterError as err:
            LOGGER.debug("%s: %s", client.url, err)
            # Nobody waits for the answer to a discovery: it is asked again later.
            if isinstance(err, MeterForbidden) and self.source == SOURCE_DHCP:
                return "unexpected_answer"
            return flow_error(err)
        if self._status.mac:
            self._mac = format_mac(self._status.mac)
        return None

    async def _async_create(self) -> ConfigFlowResult:
        assert self._status
        await self._async_set_unique_id_of(self._status)
        self._abort_answered_discoveries()
        entry = self._entry_of(self._status.serial_number)
        if entry is None or (
            entry.source == SOURCE_IGNORE and self.source == SOURCE_USER
        ):
            return self.async_create_entry(
                title=f"{NAME} {self.unique_id}", data=self._data()
            )
        await self._async_follow_owner(entry, self._status)
        return self.async_abort(reason="already_configured")

    async def _async_follow_owner(self, entry: ConfigEntry, status: Status) -> None:
        """Let an entry follow a meter that its owner has just met elsewhere.

        A password was sent only if the owner has entered it in this dialog; without
        it, what answers must not get the stored one.
        """
        is_trusted = self._password or not entry.data.get(CONF_PASSWORD)
        if not is_trusted or not is_status_of(entry, status, None):
            return
        if self.source == SOURCE_USER or await async_has_left(
            self.hass, entry, self._port
        ):
            async_relocate(self.hass, entry, self._data())

    async def _async_update(
        self, entry: ConfigEntry, changes: dict[str, Any]
    ) -> ConfigFlowResult:
        assert self._status
        await self._async_set_unique_id_of(self._status)
        self._abort_if_unique_id_mismatch(
            description_placeholders={"serial_number": self._status.serial_number}
        )
        return self.async_update_reload_and_abort(entry, data_updates=changes)

    def _data(self) -> dict[str, Any]:
        data: dict[str, Any] = {CONF_HOST: self._host, CONF_PORT: self._port}
        if self._password:
            data[CONF_PASSWORD] = self._password
        if self._mac:
            data[CONF_MAC] = self._mac
        return data


class EmuOptionsFlow(OptionsFlowWithReload):
    """Handles the options of a meter, and the firmware that all meters share."""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask what the owner wants to see."""
        return self.async_show_menu(
            step_id="init", menu_options=["statistics", "firmware"]
        )

    async def async_step_statistics(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask whether statistics are to be filled automatically, and costs follow."""
        if user_input is not None:
            return self._finish(user_input)
        options = self.config_entry.options
        return self.async_show_form(
            step_id="statistics",
            data_schema=vol.Schema(
                {
                    vol.Required(key, default=options.get(key, True)): BooleanSelector()
                    for key in (CONF_AUTOMATIC, CONF_COSTS)
                }
            ),
        )

    async def async_step_firmware(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the firmware that is kept, and ask for another."""
        store = firmware_store(self.hass)
        errors: dict[str, str] = {}
        check = store.is_checked_daily
        if user_input is not None:
            if (error := await self._async_take_firmware(user_input)) is None:
                return self._finish({})
            errors[_FIRMWARE_FILE] = error
            check = user_input[_CHECK_FOR_FIRMWARE]
        schema: dict[vol.Marker, Any] = {
            vol.Optional(_FIRMWARE_FILE): FileSelector(
                FileSelectorConfig(accept=".bin,.zip")
            ),
            vol.Required(_CHECK_FOR_FIRMWARE, default=check): BooleanSelector(),
        }
        if store.image:
            schema[vol.Required(_REMOVE_FIRMWARE, default=False)] = BooleanSelector()
        return self.async_show_form(
            step_id="kept_firmware" if store.image else "firmware",
            data_schema=vol.Schema(schema),
            errors=errors,
            description_placeholders=_described(store.image) if store.image else None,
        )

    async def async_step_kept_firmware(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Go on with the form that shows the firmware."""
        return await self.async_step_firmware(user_input)

    async def _async_take_firmware(self, user_input: dict[str, Any]) -> str | None:
        """Do what the form says, and return which error that met."""
        store = firmware_store(self.hass)
        if file_id := user_input.get(_FIRMWARE_FILE):
            try:
                image = await self.hass.async_add_executor_job(
                    _read_upload, self.hass, file_id
                )
            except FirmwareRefused as err:
                return err.reason
            except (OSError, ValueError) as err:
                LOGGER.debug("The uploaded file can't be read: %s", err)
                return "file_lost"
            await store.async_keep(image, Source.UPLOAD)
        elif user_input.get(_REMOVE_FIRMWARE):
            await store.async_remove()
        await store.async_check_daily(wanted=user_input[_CHECK_FOR_FIRMWARE])
        return None

    def _finish(self, changes: dict[str, Any]) -> ConfigFlowResult:
        return self.async_create_entry(data={**self.config_entry.options, **changes})


def _read_upload(hass: HomeAssistant, file_id: str) -> Image:
    """Return the image of a file that the owner uploaded; blocks."""
    with process_uploaded_file(hass, file_id) as path:
        return read_firmware_file(path)


def _described(image: Image) -> dict[str, str]:
    return {
        "version": str(image.version),
        "size": f"{image.size / 1024:.1f}",
        "signature": image.signature,
        "hash": image.hash.hex(),
    }
