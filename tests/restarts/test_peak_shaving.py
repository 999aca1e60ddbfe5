"""Peak shaving of a boiler and a heater, whose owner has switched the heater off."""

from typing import Any, Final

import pytest

from processes.running import until

from .conftest import NOON, House, Load

HIGH, MIDDLE, LOW = 20, 13, 5
"""kW; high is above the limit, low leaves room for a load."""
PATIENCE: Final = 150
"""Seconds: what is done each minute, and what must last for a minute before."""


async def set_up(house: House, **inputs: Any) -> None:
    """Let the owner set up the meter and an automation for each load."""
    await house.add_meter()
    for load in (house.boiler, house.heater):
        await shave(house, load, **inputs)
    await until(lambda: has_power(house))


async def shave(house: House, load: Load, **inputs: Any) -> None:
    """Make or change the automation of a load."""
    entity_ids = await house.owner.entities(house.server.meter.serial_number)
    await house.owner.add_automation(
        f"shave_{load.name}",
        "peak_shaving",
        **{
            "power": entity_ids["active_power"],
            "limit": 15,
            "resume": 12,
            "patience": {"seconds": 2},
            "rest": {"seconds": 2},
            "load": load.entity_id,
            "shed": load.toggle,
            **inputs,
        },
    )


async def has_power(house: House) -> bool:
    """Return whether Home Assistant knows the power that the meter shows."""
    entity_ids = await house.owner.entities(house.server.meter.serial_number)
    shown = await house.owner.state(entity_ids["active_power"])
    return shown == house.server.meter.override["p_L123_act_e"]


def set_power(house: House, kilowatts: float) -> None:
    """Let the meter show a power."""
    house.server.meter.override["p_L123_act_e"] = f"{kilowatts:.3f}"


async def wait_for_boiler(house: House, *, is_on: bool) -> None:
    """Wait until the boiler is switched; the owner's heater is left alone."""

    async def is_switched() -> bool:
        return house.boiler.is_on is is_on

    await until(is_switched, seconds=PATIENCE)
    await assert_heater_is_left_alone(house)


async def assert_heater_is_left_alone(house: House) -> None:
    """Fail if the heater was switched, or is believed to be shed."""
    assert not house.heater.is_on
    assert await house.owner.state(house.heater.toggle) == "off"


async def is_shed(house: House) -> bool:
    """Return whether the boiler is known as shed."""
    return await house.owner.state(house.boiler.toggle) == "on"


async def is_on_again(house: House) -> bool:
    """Return whether the boiler is known as on again."""
    return not await is_shed(house)


async def shed_boiler(house: House) -> None:
    """Set all up in a first life; in another one, let the power shed the boiler."""
    house.boiler.is_on = True
    set_power(house, LOW)
    async with house.first_life(NOON):
        await set_up(house)
    async with house.life():
        await until(lambda: has_power(house))
        set_power(house, HIGH)
        await wait_for_boiler(house, is_on=False)


async def test_restarts(house: House) -> None:
    """A load is shed and restored whatever happens while Home Assistant is off."""
    await shed_boiler(house)
    set_power(house, LOW)
    async with house.life():
        assert await is_shed(house)
        await wait_for_boiler(house, is_on=True)
        await until(lambda: is_on_again(house), seconds=PATIENCE)
    set_power(house, HIGH)
    async with house.life():
        assert not await is_shed(house)
        await wait_for_boiler(house, is_on=False)
    async with house.life():
        await until(lambda: has_power(house))
        assert await is_shed(house)
        set_power(house, LOW)
        await wait_for_boiler(house, is_on=True)


async def test_switched_by_its_owner(house: House) -> None:
    """A shed load that its owner switches on and off, unseen, is the owner's again."""
    await shed_boiler(house)
    set_power(house, MIDDLE)
    house.boiler.is_on = True
    async with house.life():
        assert await is_shed(house)
        await until(lambda: is_on_again(house), seconds=PATIENCE)
        assert house.boiler.is_on
    house.boiler.is_on = False
    house.heater.is_on = True
    set_power(house, HIGH)
    async with house.life():

        async def heater_is_shed() -> bool:
            return await house.owner.state(house.heater.toggle) == "on"

        await until(heater_is_shed, seconds=PATIENCE)
        assert not await is_shed(house)
        set_power(house, LOW)

        async def heater_is_on() -> bool:
            return house.heater.is_on

        await until(heater_is_on, seconds=PATIENCE)
        assert not house.boiler.is_on


@pytest.mark.parametrize("killed", [False], ids=[""], indirect=True)
async def test_reload(house: House) -> None:
    """With another limit a load is shed, or restored, at a power that stays."""
    house.boiler.is_on = True
    set_power(house, HIGH)
    async with house.life(NOON):
        await set_up(house, limit=30, resume=1)
        assert house.boiler.is_on
        for load in (house.boiler, house.heater):
            await shave(house, load, resume=1)
        await wait_for_boiler(house, is_on=False)
        assert await is_shed(house)
        for load in (house.boiler, house.heater):
            await shave(house, load, limit=30, resume=25)
        await wait_for_boiler(house, is_on=True)
