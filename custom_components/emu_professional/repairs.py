"""Dialogs of the fixable repair issues. Chapter "Firmware-Update"."""

from collections.abc import Awaitable, Callable
from functools import partial

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
from .firmware.meter_firmware import MeterFirmware, meter_firmware_of
from .issues import Issue, issue_of

_CONFIRM = "confirm"


class FixFlow(RepairsFlow):
    """Lets the owner choose one of an issue's fixes, or confirm the only one."""

    def __init__(self, issue: Issue, firmware: MeterFirmware) -> None:
        """Initialize the dialog of an issue about a meter's firmware."""
        self._issue = issue
        self._firmware = firmware
        for step_id, fix in issue.fixes.items():
            if step_id != _CONFIRM:
                # Home Assistant finds the step of a menu option by its name.
                setattr(self, f"async_step_{step_id}", partial(self._async_fix, fix))

    async def async_step_init(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Show the choices; Home Assistant's own input is ignored."""
        if _CONFIRM in self._issue.fixes:
            return await self.async_step_confirm()
        return self.async_show_menu(
            step_id="init",
            menu_options=[*self._issue.fixes],
            description_placeholders=self._placeholders(),
        )

    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask for a confirmation, then apply the only fix."""
        if user_input is None:
            return self.async_show_form(
                step_id=_CONFIRM, description_placeholders=self._placeholders()
            )
        return await self._async_fix(self._issue.fixes[_CONFIRM])

    async def _async_fix(
        self,
        fix: Callable[[MeterFirmware], Awaitable[None]],
        user_input: dict[str, str] | None = None,
    ) -> RepairsFlowResult:
        """Apply a fix, and end with success or with the reason of its failure."""
        try:
            await fix(self._firmware)
        except HomeAssistantError as err:
            text = await self._async_text(err)
            return self.async_abort(
                reason="failed", description_placeholders={"error": text}
            )
        return self.async_create_entry(data={})

    async def _async_text(self, err: HomeAssistantError) -> str:
        """Return the text of an error in the owner's language.

        The error's own string is always English.
        """
        texts = await async_get_translations(
            self.hass, self.hass.config.language, "exceptions", {DOMAIN}
        )
        key = f"component.{DOMAIN}.exceptions.{err.translation_key}.message"
        return texts[key].format(**err.translation_placeholders or {})

    def _placeholders(self) -> dict[str, str] | None:
        issue = ir.async_get(self.hass).async_get_issue(DOMAIN, self.issue_id)
        return issue.translation_placeholders if issue else None


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, str | int | float | None] | None
) -> RepairsFlow:
    """Return the dialog of an issue."""
    issue, entry_id = issue_of(issue_id)
    entry = hass.config_entries.async_get_entry(entry_id)
    # The meter may have been removed since the issue was shown.
    if issue is None or entry is None or not issue.fixes:
        return ConfirmRepairFlow()
    return FixFlow(issue, meter_firmware_of(hass, entry))
