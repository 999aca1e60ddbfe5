"""Adding a meter, mending the way to it, and its options."""

from collections.abc import Mapping
import re
from typing import Any, override

import voluptuous as vol
from yarl import URL

from homeassistant.components.file_upload import process_uploaded_file
from homeassistant.config_entries import (
    SOURCE_DHCP,
    ConfigEntry,
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

from .const import CONF_AUTOMATIC, DOMAIN, LOGGER, NAME
from .emu.client import MeterClient
from .emu.errors import (
    FirmwareRefused,
    MeterError,
    MeterUnauthorized,
    MeterUnexpectedAnswer,
    MeterUnreachable,
    MeterUnsupported,
)
from .emu.firmware import Image
from .emu.readings import Status
from .firmware import Source, firmware_store, read_firmware_file

_ERRORS: dict[type[MeterError], str] = {
    MeterUnreachable: "cannot_connect",
    MeterUnauthorized: "invalid_auth",
    MeterUnexpectedAnswer: "unexpected_answer",
    MeterUnsupported: "not_emu_meter",
}

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
    url = URL(f"http://{text}")
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
        """Meet a new meter, or a known one at a new address."""
        self._host = discovery_info.ip
        self._mac = format_mac(discovery_info.macaddress)
        # A meter with access protection tells its serial number only afterwards.
        await self.async_set_unique_id(self._known_serial_number() or self._mac)
        self._abort_if_unique_id_configured(updates={CONF_HOST: self._host})
        error = await self._async_ask()
        if error == "invalid_auth":
            self.context["title_placeholders"] = {"name": f"{NAME} ({self._host})"}
            return await self.async_step_password()
        if error is not None:
            return self.async_abort(reason=error)
        await self._async_set_serial_number()
        return await self.async_step_discovery_confirm()

    async def async_step_discovery_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show what was found, and add it if that is wanted."""
        assert self._status
        if user_input is not None:
            return await self._async_create()
        serial_number = self._status.serial_number
        self.context["title_placeholders"] = {"name": f"{NAME} {serial_number}"}
        self._set_confirm_only()
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
        self._host = entry_data[CONF_HOST]
        self._port = entry_data[CONF_PORT]
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the new password."""
        form = await self._async_password_form("reauth_confirm", user_input)
        return form or await self._async_update(self._get_reauth_entry())

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Change address or password."""
        entry = self._get_reconfigure_entry()
        data = entry.data
        errors: dict[str, str] = {}
        if user_input is not None:
            self._password = user_input.get(CONF_PASSWORD, data.get(CONF_PASSWORD))
            error = await self._async_ask_at(user_input[CONF_HOST])
            if error is None:
                return await self._async_update(entry)
            field = CONF_PASSWORD if error == "invalid_auth" else CONF_HOST
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
        self, step_id: str, user_input: dict[str, Any] | None
    ) -> ConfigFlowResult | None:
        """Ask for the password; return None once the meter accepts it."""
        errors: dict[str, str] = {}
        if user_input is not None:
            self._password = user_input[CONF_PASSWORD]
            if (error := await self._async_ask()) is None:
                return None
            errors[CONF_PASSWORD if error == "invalid_auth" else "base"] = error
        return self.async_show_form(
            step_id=step_id,
            data_schema=_PASSWORD_SCHEMA,
            description_placeholders={"host": _shown(self._host, self._port)},
            errors=errors,
        )

    def _known_serial_number(self) -> str | None:
        """Return which meter has this MAC address, so that it need not be asked."""
        entries = self._async_current_entries(include_ignore=False)
        known = (e.unique_id for e in entries if e.data.get(CONF_MAC) == self._mac)
        return next(known, None)

    async def _async_ask_at(self, host: str) -> str | None:
        try:
            self._host, self._port = parse_host(host)
        except ValueError:
            return "invalid_host"
        return await self._async_ask()

    async def _async_ask(self) -> str | None:
        """Ask for the status and return which error that met."""
        client = MeterClient(
            async_get_clientsession(self.hass), self._host, self._port, self._password
        )
        try:
            self._status = await client.status()
        except MeterError as err:
            LOGGER.debug("%s: %s", client.url, err)
            return _ERRORS[type(err)]
        if self._status.mac:
            self._mac = format_mac(self._status.mac)
        return None

    async def _async_set_serial_number(self) -> None:
        assert self._status
        await self.async_set_unique_id(
            self._status.serial_number, raise_on_progress=self.source == SOURCE_DHCP
        )
        self._abort_if_unique_id_configured(updates=self._data())

    async def _async_create(self) -> ConfigFlowResult:
        await self._async_set_serial_number()
        return self.async_create_entry(
            title=f"{NAME} {self.unique_id}", data=self._data()
        )

    async def _async_update(self, entry: ConfigEntry) -> ConfigFlowResult:
        assert self._status
        await self.async_set_unique_id(self._status.serial_number)
        self._abort_if_unique_id_mismatch(
            description_placeholders={"serial_number": self._status.serial_number}
        )
        return self.async_update_reload_and_abort(entry, data_updates=self._data())

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
        """Ask whether statistics are to be filled without being told to."""
        if user_input is not None:
            return self._finish(user_input)
        automatic = self.config_entry.options.get(CONF_AUTOMATIC, True)
        return self.async_show_form(
            step_id="statistics",
            data_schema=vol.Schema(
                {vol.Required(CONF_AUTOMATIC, default=automatic): BooleanSelector()}
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
