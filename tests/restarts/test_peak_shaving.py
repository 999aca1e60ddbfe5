"""Peak shaving of a boiler and a heater, whose owner has switched the heater off."""

from typing import Any, Final

import pytest

from processes.running import until

from .conftest import NOON, Load, RestartingHome

HIGH, MIDDLE, LOW = 20, 13, 5
"""kW; high is above the limit, low leaves room for a load."""
PATIENCE: Final = 150
"""Seconds: what is done each minute, and what must last for a minute before."""


async def set_up(home: RestartingHome, **inputs: Any) -> None:
    """Let the owner set up the meter and an automation for each load."""
    await home.add_meter()
    for load in (home.boiler, home.heater):
        await shave(home, load, **inputs)
    await until(lambda: has_power(home))


async def shave(home: RestartingHome, load: Load, **inputs: Any) -> None:
    """Make or change the automation of a load."""
    entity_ids = await home.owner.entities(home.server.meter.serial_number)
    await home.owner.add_automation(
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


async def has_power(home: RestartingHome) -> bool:
    """Return whether Home Assistant knows the power that the meter shows."""
    entity_ids = await home.owner.entities(home.server.meter.serial_number)
    shown = await home.owner.state(entity_ids["active_power"])
    return shown == home.server.meter.override["p_L123_act_e"]


def set_power(home: RestartingHome, kilowatts: float) -> None:
    """Let the meter show a power."""
    home.server.meter.override["p_L123_act_e"] = f"{kilowatts:.3f}"


async def wait_for_boiler(home: RestartingHome, *, is_on: bool) -> None:
    """Wait until the boiler is switched; the owner's heater is left alone."""

    async def is_switched() -> bool:
        return home.boiler.is_on is is_on

    await until(is_switched, seconds=PATIENCE)
    await assert_heater_is_left_alone(home)


async def assert_heater_is_left_alone(home: RestartingHome) -> None:
    """Fail if the heater was switched, or is believed to be shed."""
    assert not home.heater.is_on
    assert await home.owner.state(home.heater.toggle) == "off"


async def is_shed(home: RestartingHome) -> bool:
    """Return whether the boiler is known as shed."""
    return await home.owner.state(home.boiler.toggle) == "on"


async def is_on_again(home: RestartingHome) -> bool:
    """Return whether the boiler is known as on again."""
    return not await is_shed(home)


async def shed_boiler(home: RestartingHome) -> None:
    """Set all up in a first life; in another one, let the power shed the boiler."""
    home.boiler.is_on = True
    set_power(home, LOW)
    async with home.first_life(NOON):
        await set_up(home)
    async with home.life():
        await until(lambda: has_power(home))
        set_power(home, HIGH)
        await wait_for_boiler(home, is_on=False)


async def test_restarts(home: RestartingHome) -> None:
    """A load is shed and restored whatever happens while Home Assistant is off."""
    await shed_boiler(home)
    set_power(home, LOW)
    async with home.life():
        assert await is_shed(home)
        await wait_for_boiler(home, is_on=True)
        await until(lambda: is_on_again(home), seconds=PATIENCE)
    set_power(home, HIGH)
    async with home.life():
        assert not await is_shed(home)
        await wait_for_boiler(home, is_on=False)
    async with home.life():
        await until(lambda: has_power(home))
        assert await is_shed(home)
        set_power(home, LOW)
        await wait_for_boiler(home, is_on=True)


async def test_switched_by_its_owner(home: RestartingHome) -> None:
    """A shed load that its owner switches on and off, unseen, is the owner's again."""
    await shed_boiler(home)
    set_power(home, MIDDLE)
    home.boiler.is_on = True
    async with home.life():
        assert await is_shed(home)
        await until(lambda: is_on_again(home), seconds=PATIENCE)
        assert home.boiler.is_on
    home.boiler.is_on = False
    home.heater.is_on = True
    set_power(home, HIGH)
    async with home.life():

        async def heater_is_shed() -> bool:
            return await home.owner.state(home.heater.toggle) == "on"

        await until(heater_is_shed, seconds=PATIENCE)
        assert not await is_shed(home)
        set_power(home, LOW)

        async def heater_is_on() -> bool:
            return home.heater.is_on

        await until(heater_is_on, seconds=PATIENCE)
        assert not home.boiler.is_on


@pytest.mark.parametrize("killed", [False], ids=[""], indirect=True)
async def test_reload(home: RestartingHome) -> None:
    """With another limit a load is shed, or restored, at a power that stays."""
    home.boiler.is_on = True
    set_power(home, HIGH)
    async with home.life(NOON):
        await set_up(home, limit=30, resume=1)
        assert home.boiler.is_on
        for load in (home.boiler, home.heater):
            await shave(home, load, resume=1)
        await wait_for_boiler(home, is_on=False)
        assert await is_shed(home)
        for load in (home.boiler, home.heater):
            await shave(home, load, limit=30, resume=25)
        await wait_for_boiler(home, is_on=True)
