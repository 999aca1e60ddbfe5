"""Repeated looks at a discovered meter, until its web server answers.

A meter asks for its address seconds before its web server is up, and Home Assistant
reports each address only once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from homeassistant.config_entries import SOURCE_DHCP, ConfigFlowContext
from homeassistant.core import HassJob, HomeAssistant, callback
from homeassistant.helpers.discovery_flow import DiscoveryKey, async_create_flow
from homeassistant.helpers.event import async_call_later
from homeassistant.helpers.service_info.dhcp import DhcpServiceInfo
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN

PAUSES: Final = (5, 10, 15, 30, 30, 30)
"""Seconds from look to look: two minutes in all."""

MOST_SIGHTINGS: Final = 50
"""Largest number of sightings at a time: MAC addresses can be invented."""

_SIGHTINGS: Final[HassKey[dict[str, Sighting]]] = HassKey(f"{DOMAIN}.sightings")


def _nothing() -> None:
    """Cancel nothing."""


@dataclass(slots=True)
class Sighting:
    """A DHCP request, and the number of looks at its sender."""

    ip: str
    looks: int = 0
    cancel: Callable[[], None] = _nothing

    @property
    def is_last_look(self) -> bool:
        """Return whether no other look follows."""
        return self.looks > len(PAUSES)


@callback
def async_sighting(hass: HomeAssistant, info: DhcpServiceInfo) -> Sighting:
    """Return the sighting of a discovery, and count this look."""
    sightings = hass.data.setdefault(_SIGHTINGS, {})
    sighting = _stored(hass, info)
    if sighting is None:
        # At another address, the planned look at the former one is pointless.
        if former := sightings.get(info.macaddress):
            former.cancel()
        sighting = sightings[info.macaddress] = Sighting(info.ip)
    sighting.looks += 1
    return sighting


def _stored(hass: HomeAssistant, info: DhcpServiceInfo) -> Sighting | None:
    """Return the sighting of a meter at this address, or None if it has ended.

    A look at a former address may end after the meter was seen at another one.
    """
    sighting = hass.data.get(_SIGHTINGS, {}).get(info.macaddress)
    return sighting if sighting and sighting.ip == info.ip else None


@callback
def async_look_again(
    hass: HomeAssistant, info: DhcpServiceInfo, discovery_key: DiscoveryKey | None
) -> None:
    """Discover the meter once more in a moment, unless this was the last look.

    Without a sighting at this address, do nothing.
    """
    if (sighting := _stored(hass, info)) is None:
        return
    sighting.cancel()
    if sighting.is_last_look or len(hass.data[_SIGHTINGS]) > MOST_SIGHTINGS:
        async_end(hass, info)
        return

    @callback
    def look(now: datetime) -> None:
        sighting.cancel = _nothing
        context = ConfigFlowContext(source=SOURCE_DHCP)
        async_create_flow(hass, DOMAIN, context, info, discovery_key=discovery_key)

    sighting.cancel = async_call_later(
        hass, PAUSES[sighting.looks - 1], HassJob(look, cancel_on_shutdown=True)
    )


@callback
def async_end(hass: HomeAssistant, info: DhcpServiceInfo) -> None:
    """Forget a sighting at this address, since its sender is identified."""
    if sighting := _stored(hass, info):
        sighting.cancel()
        del hass.data[_SIGHTINGS][info.macaddress]
