"""Discovery of a known meter, possibly at another address."""

from homeassistant.config_entries import (
    SOURCE_IGNORE,
    ConfigEntryState,
    ConfigFlowResult,
)
from homeassistant.const import CONF_HOST, CONF_MAC
from homeassistant.helpers.device_registry import format_mac
from homeassistant.helpers.service_info.dhcp import DhcpServiceInfo

from ..config_entry import EmuConfigEntry
from ..rediscovery import Sighting, async_end, async_look_again
from ..relocation import (
    Verdict,
    async_judge,
    async_relocate,
    is_ip_address,
    is_status_of,
)
from .meter_flow import MeterFlow


class DiscoveryFlow(MeterFlow):
    """Corrects the entry of a known meter after a DHCP request."""

    async def _async_check_known(
        self, entry: EmuConfigEntry, info: DhcpServiceInfo, sighting: Sighting
    ) -> ConfigFlowResult:
        """Find out whether a known meter has moved, and correct its entry."""
        await self.async_set_unique_id(entry.unique_id, raise_on_progress=False)
        if entry.source == SOURCE_IGNORE:
            async_end(self.hass, info)
            return self.async_abort(reason="already_configured")
        data_then, mac = entry.data, format_mac(info.macaddress)
        verdict = await async_judge(
            self.hass, entry, info.ip, mac, last=sighting.is_last_look
        )
        if verdict is Verdict.UNCLEAR:
            self._look_again(info)
            return self.async_abort(reason="already_configured")
        async_end(self.hass, info)
        # The owner may have changed or removed the entry during the requests.
        is_there = self.hass.config_entries.async_get_entry(entry.entry_id) is entry
        if is_there and entry.data == data_then:
            if verdict is Verdict.MOVED:
                changes = {CONF_HOST: info.ip, CONF_MAC: data_then.get(CONF_MAC, mac)}
                async_relocate(self.hass, entry, changes)
            else:
                self._note_presence(entry, mac)
        return self.async_abort(reason="already_configured")

    def _note_presence(self, entry: EmuConfigEntry, mac: str) -> None:
        """Store the MAC address of a meter at its known address, and set it up."""
        host = entry.data[CONF_HOST]
        if is_ip_address(host) and host != self._host:
            return
        if (
            CONF_MAC not in entry.data
            and self._status
            and is_status_of(entry, self._status, mac)
        ):
            async_relocate(self.hass, entry, {CONF_MAC: mac})
        # The meter has just started: the next attempt need not wait.
        if entry.state is ConfigEntryState.SETUP_RETRY:
            self.hass.config_entries.async_schedule_reload(entry.entry_id)

    def _look_again(self, info: DhcpServiceInfo) -> None:
        async_look_again(self.hass, info, self.context.get("discovery_key"))

    def _entry_with_mac(self, mac: str) -> EmuConfigEntry | None:
        """Return the entry of the meter with a MAC address, without asking the meter."""
        for entry in self._async_current_entries(include_ignore=True):
            known = entry.data.get(CONF_MAC)
            if mac in (known, entry.unique_id):
                return entry
        return None

    def _is_of_entry_without_mac(self) -> bool:
        """Return whether an entry without MAC address has the discovered address."""
        return any(
            entry.data[CONF_HOST] == self._host and CONF_MAC not in entry.data
            for entry in self._async_current_entries(include_ignore=False)
        )

    def _abort_outdated_discoveries(self, info: DhcpServiceInfo) -> None:
        """Remove the discovery card of this meter at a former address."""
        for flow in self._other_discoveries(
            lambda other: other.macaddress == info.macaddress and other.ip != info.ip
        ):
            # Unless its owner is about to answer it.
            if not flow["context"].get("dismiss_protected"):
                self.hass.config_entries.flow.async_abort(flow["flow_id"])
