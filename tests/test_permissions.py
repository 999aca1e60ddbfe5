"""Who may call the actions, and how many at a time."""

import asyncio
from typing import Any, Final

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry, MockUser

from custom_components.emu_professional import action_queue
from custom_components.emu_professional.backfill import history_pages
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu import client
from homeassistant.auth.permissions import PermissionLookup, PolicyPermissions
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import HomeAssistantError, Unauthorized
from homeassistant.helpers import device_registry as dr, entity_registry as er
from simulator import faults
from simulator.web import MeterServer
from tests.conftest import SERIAL_NUMBER

READING: Final[dict[str, dict[str, object]]] = {
    "get_data_logger": {"first_index": 959},
    "get_logbook": {},
    "get_consumption": {"start": "2026-06-01T09:00:00Z"},
}
WRITING: Final[dict[str, dict[str, object]]] = {
    "export_data_logger": {"path": "/media/meter.csv"},
    "backfill_statistics": {},
    "fill_costs": {},
    "firmware_slots": {},
}
SENSOR: Final = f"sensor.emu_professional_ii_{SERIAL_NUMBER}_active_power"

READ: Final = {"read": True}

# What a user may do: which of the actions that read are answered
POLICIES: Final[dict[str, tuple[dict[str, Any], set[str]]]] = {
    "nothing": ({}, set()),
    "only to control": ({"all": {"control": True}}, set()),
    "to read everything": (
        {"all": READ},
        {"get_data_logger", "get_logbook", "get_consumption"},
    ),
    "everything": (
        {"all": True},
        {"get_data_logger", "get_logbook", "get_consumption"},
    ),
    "to read sensors": (
        {"domains": {"sensor": READ}},
        {"get_data_logger", "get_consumption"},
    ),
    "to read events": ({"domains": {"event": READ}}, set()),
    "to read one sensor": ({"entity_ids": {SENSOR: READ}}, set()),
    "to read lights": ({"domains": {"light": True}}, set()),
    "to read this meter": (
        {"device_ids": {"its device": READ}},
        {"get_data_logger", "get_logbook", "get_consumption"},
    ),
    "to read another meter": ({"device_ids": {"4711": READ}}, set()),
}


async def call(
    hass: HomeAssistant, action: str, user_id: str | None, **data: object
) -> dict[str, Any]:
    """Call an action as a user and return its response."""
    answer = await hass.services.async_call(
        DOMAIN,
        action,
        data,
        blocking=True,
        return_response=True,
        context=Context(user_id=user_id),
    )
    assert answer
    return answer


@pytest.fixture
def user(hass: HomeAssistant) -> MockUser:
    """Return a user without rights."""
    user = MockUser().add_to_hass(hass)
    user.perm_lookup = PermissionLookup(er.async_get(hass), dr.async_get(hass))
    return user


async def test_rights_of_a_user(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, user: MockUser
) -> None:
    """Only who may see all entities with the values of an answer gets it."""
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), loaded.entry_id)
    # The first look at the logs adds the event.
    await loaded.runtime_data.logbook.async_refresh()
    await hass.async_block_till_done()
    meters = ({"config_entry_id": loaded.entry_id}, {"device_id": device.id})
    answers: dict[str, set[str]] = {}
    for may, (policy, _) in POLICIES.items():
        if own := policy.get("device_ids", {}).get("its device"):
            policy = {"device_ids": {device.id: own}}
        user.permissions = PolicyPermissions({"entities": policy}, user.perm_lookup)
        answers[may] = set()
        for number, (action, data) in enumerate((READING | WRITING).items()):
            asked = len(server.requests)
            try:
                await call(hass, action, user.id, **meters[number % 2], **data)
            except Unauthorized:
                assert len(server.requests) == asked
            else:
                answers[may].add(action)
    assert answers == {may: expected for may, (_, expected) in POLICIES.items()}


async def test_rights_come_first(
    hass: HomeAssistant, loaded: MockConfigEntry, user: MockUser
) -> None:
    """Without rights nobody learns whether a meter is loaded; users may be unknown."""
    user.mock_policy({})
    await hass.config_entries.async_unload(loaded.entry_id)
    for action, data in (READING | WRITING).items():
        for user_id in (user.id, "4711"):
            with pytest.raises(Unauthorized):
                await call(
                    hass, action, user_id, config_entry_id=loaded.entry_id, **data
                )


async def test_rights_without_entities(
    hass: HomeAssistant, loaded: MockConfigEntry, user: MockUser
) -> None:
    """Where the owner has removed all entities, rights to some are none to the meter."""
    registry = er.async_get(hass)
    for found in er.async_entries_for_config_entry(registry, loaded.entry_id):
        registry.async_remove(found.entity_id)
    user.mock_policy({"entities": {"domains": {"sensor": READ}}})
    with pytest.raises(Unauthorized):
        await call(hass, "get_data_logger", user.id, config_entry_id=loaded.entry_id)


@pytest.fixture
async def reading(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    monkeypatch: pytest.MonkeyPatch,
) -> asyncio.Task[Any]:
    """Return an action that an automation has begun, and that gets stuck."""
    monkeypatch.setattr(client, "FIRST_BYTE_LIMIT", 1.5)
    monkeypatch.setattr(history_pages, "_PATIENCE", (0, 0))
    server.faults.set(faults.Silent(), path="/data/")
    server.requests.clear()
    task = hass.async_create_task(start(hass, loaded, None))
    await server.received(1)
    return task


async def start(
    hass: HomeAssistant, entry: MockConfigEntry, user_id: str | None
) -> dict[str, Any]:
    """Read one record."""
    return await call(
        hass,
        "get_data_logger",
        user_id,
        config_entry_id=entry.entry_id,
        first_index=959,
        last_index=959,
    )


async def test_one_at_a_time(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    reading: asyncio.Task[Any],
    hass_read_only_user: MockUser,
    hass_admin_user: MockUser,
) -> None:
    """Who calls too often is refused at once; the others have their turns."""
    most = action_queue.MOST_WAITING
    user_id = hass_read_only_user.id
    many = [asyncio.create_task(start(hass, loaded, user_id)) for _ in range(201)]
    other = asyncio.create_task(start(hass, loaded, hass_admin_user.id))
    done, waiting = await asyncio.wait(many, timeout=0.5)
    assert len(waiting) == most
    for task in done:
        err = task.exception()
        assert isinstance(err, HomeAssistantError)
        assert err.translation_key == "too_many_actions"
        assert loaded.title in str(err)
        assert f"and {most} more" in str(err)
    asked = [request.path for request in server.requests if "/data" in request.path]
    assert len(asked) == 1
    # One who does not wait any longer makes room.
    (given_up, *waiting_still) = waiting
    given_up.cancel()
    await asyncio.wait([given_up])
    late = asyncio.create_task(start(hass, loaded, user_id))
    server.faults.clear()
    for task in (reading, *waiting_still, other, late):
        assert [record["index"] for record in (await task)["records"]] == [959]


async def test_waiting_ends_with_the_entry(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    reading: asyncio.Task[Any],
) -> None:
    """Neither the action that reads nor one that waits outlives the entry."""
    waiting = hass.async_create_task(start(hass, loaded, None))
    await asyncio.sleep(0)
    await hass.config_entries.async_unload(loaded.entry_id)
    for task in (reading, waiting):
        with pytest.raises(HomeAssistantError) as caught:
            await task
        assert caught.value.translation_key == "interrupted"


async def test_live_readings_come_first(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    reading: asyncio.Task[Any],
    hass_admin_user: MockUser,
) -> None:
    """A poll waits for the request that is under way and for no other."""
    others = [
        asyncio.create_task(start(hass, loaded, user_id))
        for user_id in (None, None, hass_admin_user.id)
    ]
    logbook = asyncio.create_task(
        call(hass, "get_logbook", None, config_entry_id=loaded.entry_id)
    )
    looking = asyncio.create_task(loaded.runtime_data.logbook.async_refresh())
    await asyncio.sleep(0)
    polling = asyncio.create_task(loaded.runtime_data.meter.async_refresh())
    asked = len(server.requests)
    server.faults.clear()
    await asyncio.gather(reading, *others, logbook, looking, polling)
    paths = [request.path for request in server.requests[asked:]]
    assert paths[0] == "/meterdata.json"
