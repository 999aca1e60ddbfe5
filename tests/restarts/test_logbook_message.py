"""Messages of what the meter has logged while Home Assistant was off."""

from datetime import timedelta
import json
from pathlib import Path
from typing import Any

from processes.running import until
from simulator.history import CurrentRatioChange, PowerFailure

from .conftest import NOON, RestartingHome


async def test_logged_while_off(home: RestartingHome) -> None:
    """Each event is said once after the start, and not again after the next one."""
    owner = home.owner
    meter = home.server.meter
    async with home.first_life(NOON):
        entry_id = await home.add_meter()
        store = home.store(entry_id, "logbook")
        await reported(store, None)
        await until(lambda: has_logbook(home))
        entity_ids = await owner.entities(meter.serial_number)
        await owner.add_automation(
            "message",
            "logbook_message",
            logbook=entity_ids["logbook"],
            event_types=["current_transformer_changed", "power_failure"],
        )
        assert not await owner.notifications()
    before = position(store)
    meter.happens(CurrentRatioChange(home.now + timedelta(minutes=5), primary=500))
    async with home.life():
        (message,) = await home.messages(1)
        assert message.startswith("Current transformer ratio changed,")
        assert "- ct primary: 5 → 500 A" in message
        await reported(store, before)
    before = position(store)
    meter.happens(
        CurrentRatioChange(home.now + timedelta(minutes=5), primary=600),
        PowerFailure(
            home.now + timedelta(minutes=20), home.now + timedelta(minutes=35)
        ),
    )
    async with home.life():
        change, failure = sorted(await home.messages(2))
        assert "- ct primary: 500 → 600 A" in change
        assert failure.startswith("Power failure,")
        await reported(store, before)
        assert len(await owner.notifications()) == 2


def position(store: Path) -> dict[str, Any] | None:
    """Return what is known as reported of the meter's logs."""
    return dict(json.loads(store.read_text())["data"]) if store.exists() else None


async def reported(store: Path, since: dict[str, Any] | None) -> None:
    """Wait until it is on disk that more is reported."""

    async def is_reported() -> bool:
        return position(store) != since

    # The first look is some time after the start.
    await until(is_reported, seconds=60)


async def has_logbook(home: RestartingHome) -> bool:
    """Return whether the entity is there."""
    return "logbook" in await home.owner.entities(home.server.meter.serial_number)
