"""A meter is added, found, and known again."""

import socket

from playwright.async_api import Page, expect
import pytest

from processes.owner import Owner
from processes.running import until
from simulator.faults import Status
from tests.stranger import Stranger

from .conftest import METER_PASSWORD, NEW_METER_PASSWORD, NOT_FILLED, Install
from .pages import (
    ADD,
    INTEGRATIONS,
    button,
    choose_in_menu,
    close,
    dialog,
    row,
    statistics_are_filled,
    type_password,
)


async def test_add_by_address_and_password(
    owner: Owner, page: Page, install: Install
) -> None:
    """The owner types the address, is asked for the password, and has the meter."""
    updater = await install(password=METER_PASSWORD)
    await page.goto(ADD)
    await button(page, "OK").click()
    await page.get_by_role("textbox", name="Host").fill(updater.web.url)
    await button(page, "Submit").click()
    await expect(page.get_by_text("Enter the password of its user")).to_be_visible()
    await type_password(page, "wrong")
    await expect(page.get_by_text("refuses this password")).to_be_visible()
    await type_password(page, METER_PASSWORD)
    await close(page, "Skip and finish")
    (entry,) = await owner.meters()
    assert entry["title"] == f"EMU Professional II {updater.meter.serial_number}"
    assert entry["state"] == "loaded"


async def test_confirm_a_discovered_meter(
    owner: Owner, page: Page, install: Install
) -> None:
    """The router tells of a meter; the owner only has to say yes."""
    # Home Assistant believes in no meter on the loopback interface, nor at another port.
    address = _address_in_network()
    try:
        updater = await install(host=address, port=80)
    except OSError as err:
        pytest.skip(f"no meter can serve at {address}:80 ({err.strerror})")
    await _announce(owner, updater.meter.mac_address, address, "emu")
    serial_number = updater.meter.serial_number
    await page.goto(INTEGRATIONS)
    await expect(
        page.get_by_text(f"EMU Professional II {serial_number}")
    ).to_be_visible()
    await button(page, "Add").click()
    question = f"add the meter with the serial number {serial_number} at {address}?"
    await expect(dialog(page).get_by_text(question)).to_be_visible()
    await button(page, "Submit").click()
    await close(page, "Skip and finish")
    (entry,) = await owner.meters()
    assert (entry["source"], entry["state"]) == ("dhcp", "loaded")
    await owner.forget_state("device_tracker.meter")


async def test_refused_for_a_moment(
    owner: Owner, page: Page, install: Install, expected_in_log: list[str]
) -> None:
    """Something refuses the password for a while: nobody is asked, and it is over."""
    updater = await install(password=METER_PASSWORD)
    serial_number = updater.meter.serial_number
    await owner.add_meter(updater.web.url, METER_PASSWORD)
    await statistics_are_filled(owner, serial_number)
    power = (await owner.entities(serial_number))["active_power"]
    expected_in_log.append(NOT_FILLED)
    expected_in_log.append(
        f"Error fetching EMU Professional II {serial_number} data: The meter at"
        f" {updater.web.url[:-1]} refuses the password."
    )

    async def is_away() -> bool:
        return await owner.state(power) == "unavailable"

    async def is_back() -> bool:
        return not await is_away()

    updater.web.faults.set(Status(401))
    await until(is_away, seconds=60)
    await page.goto(INTEGRATIONS)
    await expect(page.get_by_text("EMU Professional II").first).to_be_visible()
    await expect(page.get_by_role("button", name="Reconfigure")).to_have_count(0)
    updater.web.faults.clear()
    await until(is_back)


async def test_enter_a_changed_password(
    owner: Owner, page: Page, install: Install
) -> None:
    """The password is changed on the meter: the owner need not wait to be asked."""
    updater = await install(password=METER_PASSWORD)
    serial_number = updater.meter.serial_number
    await owner.add_meter(updater.web.url, METER_PASSWORD)
    await statistics_are_filled(owner, serial_number)
    updater.meter.password = NEW_METER_PASSWORD
    await choose_in_menu(page, serial_number, "Reconfigure")
    await type_password(page, METER_PASSWORD)
    await expect(page.get_by_text("refuses this password")).to_be_visible()
    await type_password(page, NEW_METER_PASSWORD)
    await expect(page.get_by_text("Reconfiguration was successful")).to_be_visible()
    await close(page, "Close")
    await page.goto(await owner.device_path(serial_number))
    await expect(row(page, "Active power")).to_contain_text("kW")


async def test_stranger_in_the_network(
    owner: Owner, page: Page, install: Install, expected_in_log: list[str]
) -> None:
    """A device that claims to be the meter gets nothing; the meter itself is followed."""
    address = _address_in_network()
    updater = await install(password=METER_PASSWORD)
    web, serial_number = updater.web, updater.meter.serial_number
    await owner.add_meter(web.url, METER_PASSWORD)
    expected_in_log += [
        f"Error fetching EMU Professional II {serial_number} data: The meter at",
        NOT_FILLED,
    ]
    claims = {"meterserial": serial_number, "networkmac": updater.meter.mac_address}
    # How the meter answers without its password is learned after its first readings.
    await statistics_are_filled(owner, serial_number)
    await web.stop()
    async with Stranger(address, web.port, document=claims) as stranger:

        async def was_asked() -> bool:
            return stranger.requests > 0

        await _announce(owner, updater.meter.mac_address, address, "stranger")
        await until(was_asked)
        await choose_in_menu(page, serial_number, "Reconfigure")
        await expect(page.get_by_role("textbox", name="Host")).to_have_value(
            f"{web.host}:{web.port}"
        )
        assert not stranger.secrets
    web.host = address
    await web.start()
    await _announce(owner, updater.meter.mac_address, address, "meter")

    async def is_followed() -> bool:
        devices = await owner.ask("config/device_registry/list")
        return any(
            device["configuration_url"] == f"http://{address}:{web.port}"
            for device in devices
        )

    await until(is_followed)
    await page.goto(await owner.device_path(serial_number))
    await expect(page.locator(f'a[href="http://{address}:{web.port}"]')).to_be_visible()
    await expect(row(page, "Active power")).to_contain_text("kW")
    await owner.forget_state("device_tracker.meter")


async def test_change_the_address(owner: Owner, page: Page, install: Install) -> None:
    """The meter moves to another address, with its password, entities and history."""
    updater = await install(password=METER_PASSWORD)
    web, serial_number = updater.web, updater.meter.serial_number
    await owner.add_meter(web.url, METER_PASSWORD)
    await choose_in_menu(page, serial_number, "Reconfigure")
    host = page.get_by_role("textbox", name="Host")
    await expect(host).to_have_value(f"{web.host}:{web.port}")
    await web.stop()
    web.port = 0
    await web.start()
    web.requests.clear()
    await host.fill(f"{web.host}:{web.port}")
    await button(page, "Submit").click()
    await expect(page.get_by_text("Reconfiguration was successful")).to_be_visible()
    await close(page, "Close")
    (entry,) = await owner.meters()
    assert entry["state"] == "loaded"
    await page.goto(await owner.device_path(serial_number))
    visit = page.locator(f'a[href="{web.url.removesuffix("/")}"]')
    await expect(visit).to_be_visible()
    assert {"/meterdata.json", "/status.json"} <= {r.path for r in web.requests}


async def _announce(owner: Owner, mac: str, address: str, name: str) -> None:
    """Let the router tell of a device; another name makes it news."""
    await owner.post(
        "/api/states/device_tracker.meter",
        json={
            "state": "home",
            "attributes": {
                "source_type": "router",
                "ip": address,
                "mac": mac,
                "host_name": name,
            },
        },
    )


def _address_in_network() -> str:
    """Return this machine's own address, or skip if it has none."""
    with socket.socket(type=socket.SOCK_DGRAM) as asking:
        try:
            # Of an address for documentation: no datagram is sent.
            asking.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip(
                "this machine has no address but that of its loopback interface"
            )
        return str(asking.getsockname()[0])
