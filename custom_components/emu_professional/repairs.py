"""What an owner can do about an issue, in a dialog. Chapter "Firmware-Update"."""

from collections.abc import Awaitable, Callable

from homeassistant.components.repairs import (
    ConfirmRepairFlow,
    RepairsFlow,
    RepairsFlowResult,
)
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.translation import async_get_translations

from .const import DOMAIN
from .firmware.updater import FirmwareUpdater, firmware_updater_of


class FirmwareFlow(RepairsFlow):
    """Brings a meter's firmware into order, or says why that failed."""

    def __init__(self, meter: FirmwareUpdater) -> None:
        """Name the meter."""
        self._meter = meter

    async def _async_do(self, work: Awaitable[None]) -> RepairsFlowResult:
        try:
            await work
        except HomeAssistantError as err:
            text = await self._async_text(err)
            return self.async_abort(
                reason="failed", description_placeholders={"error": text}
            )
        return self.async_create_entry(data={})

    async def _async_text(self, err: HomeAssistantError) -> str:
        """Return what an error says in the owner's language; by itself it is English."""
        texts = await async_get_translations(
            self.hass, self.hass.config.language, "exceptions", {DOMAIN}
        )
        key = f"component.{DOMAIN}.exceptions.{err.translation_key}.message"
        return texts[key].format(**err.translation_placeholders or {})

    def _menu(self, *options: str) -> RepairsFlowResult:
        return self.async_show_menu(
            step_id="init",
            menu_options=[*options],
            description_placeholders=self._placeholders(),
        )

    def _placeholders(self) -> dict[str, str] | None:
        issue = ir.async_get(self.hass).async_get_issue(DOMAIN, self.issue_id)
        return issue.translation_placeholders if issue else None


class OnTrialFlow(FirmwareFlow):
    """Lets the owner choose what becomes of a firmware on trial."""

    async def async_step_init(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask."""
        return self._menu("confirm_firmware", "revert_firmware")

    async def async_step_confirm_firmware(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Confirm it, if the meter serves its readings."""
        return await self._async_do(self._meter.async_finish())

    async def async_step_revert_firmware(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Go back to the firmware before."""
        return await self._async_do(self._meter.async_revert())


class PendingFlow(FirmwareFlow):
    """Lets the owner choose what becomes of a firmware that waits for a restart."""

    async def async_step_init(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask."""
        return self._menu("finish_firmware", "delete_firmware")

    async def async_step_finish_firmware(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Restart the module, and confirm it if the meter serves its readings."""
        return await self._async_do(self._meter.async_finish())

    async def async_step_delete_firmware(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Delete it, if the module allows that."""
        return await self._async_do(self._meter.async_erase())


class ConfirmFlow(FirmwareFlow):
    """Does one thing once the owner has confirmed that."""

    def __init__(
        self, meter: FirmwareUpdater, work: Callable[[FirmwareUpdater], Awaitable[None]]
    ) -> None:
        """Name the meter, and what is to be done."""
        super().__init__(meter)
        self._work = work

    async def async_step_init(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Begin; the input is not the owner's."""
        return await self.async_step_confirm()

    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask, and do it."""
        if user_input is None:
            return self.async_show_form(
                step_id="confirm", description_placeholders=self._placeholders()
            )
        return await self._async_do(self._work(self._meter))


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, str | int | float | None] | None
) -> RepairsFlow:
    """Return the dialog of an issue."""
    key, _, entry_id = issue_id.rpartition("_")
    if (entry := hass.config_entries.async_get_entry(entry_id)) is None:
        return ConfirmRepairFlow()
    meter = firmware_updater_of(hass, entry)
    match key:
        case "firmware_on_trial":
            return OnTrialFlow(meter)
        case "firmware_pending":
            return PendingFlow(meter)
        case "delete_firmware":
            return ConfirmFlow(meter, FirmwareUpdater.async_erase)
    return ConfirmRepairFlow()
