"""A meter is added, found, and known again."""

import socket

from playwright.async_api import Page, expect
import pytest

from processes.owner import Owner

from .conftest import METER_PASSWORD, NEW_METER_PASSWORD, Install
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
    await owner.post(
        "/api/states/device_tracker.meter",
        json={
            "state": "home",
            "attributes": {
                "source_type": "router",
                "ip": address,
                "mac": updater.meter.mac_address,
                "host_name": "emu",
            },
        },
    )
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


async def test_enter_a_changed_password(
    owner: Owner, page: Page, install: Install, expected_in_log: list[str]
) -> None:
    """The password is changed on the meter: Home Assistant asks, and goes on."""
    updater = await install(password=METER_PASSWORD)
    await owner.add_meter(updater.web.url, METER_PASSWORD)
    await statistics_are_filled(owner, updater.meter.serial_number)
    updater.meter.password = NEW_METER_PASSWORD
    expected_in_log.append(
        "Authentication failed while fetching EMU Professional II"
        f" {updater.meter.serial_number} data: The meter at {updater.web.url[:-1]}"
        " refuses the password."
    )
    await page.goto(INTEGRATIONS)
    # A short interruption changes nothing, this one for 30 s as well.
    await button(page, "Reconfigure").click(timeout=60_000)
    await expect(page.get_by_text("is protected")).to_be_visible()
    await type_password(page, METER_PASSWORD)
    await expect(page.get_by_text("refuses this password")).to_be_visible()
    await type_password(page, NEW_METER_PASSWORD)
    await expect(page.get_by_text("Re-authentication was successful")).to_be_visible()
    await close(page, "Close")
    await expect(button(page, "Reconfigure")).to_be_hidden()
    await page.goto(await owner.device_path(updater.meter.serial_number))
    await expect(row(page, "Active power")).to_contain_text("kW")


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
