"""What all actions refuse, who may call them, and how they are described."""

from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from freezegun.api import FrozenDateTimeFactory
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    MockUser,
    async_mock_service,
)
import voluptuous as vol

from custom_components.emu_professional.backfill.report import Outcome
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.services import ACTIONS, statistics
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import (
    HomeAssistantError,
    ServiceValidationError,
    Unauthorized,
)
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.service import async_get_all_descriptions
from homeassistant.helpers.translation import async_get_translations
from homeassistant.setup import async_setup_component
from homeassistant.util.yaml import parse_yaml
from simulator import faults
from simulator.web import MeterServer
from tests.conftest import NOON, SERIAL_NUMBER

from .actions import EXPORT, GET, KEYS, ZONE, Answer, call, names, refusal, rows

BACKFILL = "backfill_statistics"
DOCUMENT = Path(__file__).parents[2] / "docs/actions.md"


async def test_window_of_a_back_fill(
    hass: HomeAssistant, loaded: MockConfigEntry
) -> None:
    """A back-fill must not end before it begins, and needs the recorder."""
    told = await refusal(
        hass,
        BACKFILL,
        ServiceValidationError,
        config_entry_id=loaded.entry_id,
        start=NOON,
        end=NOON - timedelta(seconds=1),
    )
    assert "end must be after the start" in told
    told = await refusal(
        hass, BACKFILL, ServiceValidationError, config_entry_id=loaded.entry_id
    )
    assert "recorder is switched off" in told


@pytest.mark.parametrize("action", [GET, "get_logbook", "get_consumption"])
async def test_meter_that_is_being_updated(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, action: str
) -> None:
    """It is left alone."""
    activity = loaded.runtime_data.meter.firmware.activity
    window = {"start": NOON - timedelta(hours=2)} if action != "get_logbook" else {}
    server.requests.clear()
    activity.begin()
    told = await refusal(
        hass, action, ServiceValidationError, config_entry_id=loaded.entry_id, **window
    )
    assert "being updated" in told
    assert not server.requests
    activity.end()


@pytest.mark.parametrize("action", [GET, EXPORT, BACKFILL])
async def test_meter_must_be_named(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    device_registry: dr.DeviceRegistry,
    action: str,
) -> None:
    """By its entry or by its device, and it must be one of ours that is loaded."""
    other = MockConfigEntry(domain="other", title="Other")
    other.add_to_hass(hass)
    foreign = device_registry.async_get_or_create(
        config_entry_id=other.entry_id, identifiers={("other", "1")}
    )
    (device,) = dr.async_entries_for_config_entry(device_registry, loaded.entry_id)
    path = {"path": "/anywhere.csv"} if action == EXPORT else {}

    async def told(**data: str) -> str:
        return await refusal(hass, action, ServiceValidationError, **data, **path)

    assert "either by its config entry or by its device" in await told()
    assert "either by its config entry or by its device" in await told(
        config_entry_id=loaded.entry_id, device_id=device.id
    )
    assert "device 4711 is not" in await told(device_id="4711")
    assert f"device {foreign.id} is not" in await told(device_id=foreign.id)
    assert "4711 was not found" in await told(config_entry_id="4711")
    assert "Other" in await told(config_entry_id=other.entry_id)
    await hass.config_entries.async_unload(loaded.entry_id)
    assert "not loaded" in await told(config_entry_id=loaded.entry_id)
    assert "not loaded" in await told(device_id=device.id)


async def test_meter_by_its_device(
    hass: HomeAssistant, loaded: MockConfigEntry, device_registry: dr.DeviceRegistry
) -> None:
    """A device is as good as a config entry."""
    (device,) = dr.async_entries_for_config_entry(device_registry, loaded.entry_id)
    answer = await hass.services.async_call(
        DOMAIN,
        GET,
        {"device_id": device.id, "last_index": 1},
        blocking=True,
        return_response=True,
    )
    assert answer and answer["serial_number"] == SERIAL_NUMBER


FAILURES = [
    (faults.Status(404), "no_data_logger"),
    (faults.Status(401), "unauthorized"),
    (faults.Status(500), "unexpected_answer"),
    (faults.ConnectionReset(), "unreachable"),
]


@pytest.mark.parametrize(("fault", "key"), FAILURES)
async def test_meter_that_does_not_answer(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    folder: Path,
    fault: faults.Fault,
    key: str,
) -> None:
    """The owner reads why."""
    server.faults.set(fault, path="/data/")
    path = str(folder / "meter.csv")
    with pytest.raises(HomeAssistantError) as caught:
        await call(hass, GET, loaded)
    assert caught.value.translation_key == key
    assert server.url.rstrip("/") in str(caught.value)
    with pytest.raises(HomeAssistantError) as caught:
        await call(hass, EXPORT, loaded, path=path)
    assert caught.value.translation_key == key
    assert names(folder) == []


async def test_only_administrators_write(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    hass_read_only_user: MockUser,
    folder: Path,
) -> None:
    """Whoever may see the meter may read its logger, but not write with it."""
    context = Context(user_id=hass_read_only_user.id)
    data: Answer = {"config_entry_id": loaded.entry_id}

    async def ask(action: str, **more: str) -> object:
        return await hass.services.async_call(
            DOMAIN,
            action,
            data | more,
            blocking=True,
            return_response=True,
            context=context,
        )

    assert await ask(GET)
    with pytest.raises(Unauthorized):
        await ask(EXPORT, path=str(folder / "meter.csv"))
    with pytest.raises(Unauthorized):
        await ask(BACKFILL)


async def test_actions_are_there_without_a_meter(
    hass: HomeAssistant, loaded: MockConfigEntry
) -> None:
    """The actions stay, so that an automation reads an error about its unloaded meter."""
    await hass.config_entries.async_remove(loaded.entry_id)
    assert hass.services.async_services_for_domain(DOMAIN).keys() == {
        GET,
        EXPORT,
        BACKFILL,
        "fill_costs",
        "get_consumption",
        "get_logbook",
        "firmware_slots",
    }


@pytest.mark.parametrize("language", ["en", "de"])
async def test_descriptions(
    hass: HomeAssistant, loaded: MockConfigEntry, language: str
) -> None:
    """Every field of every action is described, has a name, and is taken."""
    # Those of others would need their requirements.
    for domain, others in hass.services.async_services().items():
        for service in others if domain != DOMAIN else ():
            hass.services.async_remove(domain, service)
    described = (await async_get_all_descriptions(hass))[DOMAIN]
    texts = await async_get_translations(hass, language, "services", {DOMAIN})
    expected = set()
    for name, action in ACTIONS.items():
        fields = described[name]["fields"]
        assert fields.keys() == {str(key) for key in action.schema.schema}
        paths = [name, *(f"{name}.fields.{field}" for field in fields)]
        for path in paths:
            expected |= {
                f"component.{DOMAIN}.services.{path}.name",
                f"component.{DOMAIN}.services.{path}.description",
            }
    assert texts.keys() == expected
    options = await async_get_translations(hass, language, "selector", {DOMAIN})
    for name, field in (
        *((GET, "columns"), (EXPORT, "columns"), (BACKFILL, "mode")),
        ("get_consumption", "per"),
    ):
        select = described[name]["fields"][field]["selector"]["select"]
        for option in select["options"]:
            key = f"{select['translation_key']}.options.{option}"
            assert options[f"component.{DOMAIN}.selector.{key}"]
    select = described[GET]["fields"]["columns"]["selector"]["select"]
    assert select["options"] == KEYS


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, str(key)) for name in ACTIONS for key in ACTIONS[name].schema.schema],
)
def test_nested_lists(name: str, field: str) -> None:
    """They are refused before their text is made: that of many takes a minute of CPU."""
    nested: list[Any] = []
    for _ in range(900):
        nested = [nested]
    with pytest.raises(vol.Invalid) as caught:
        ACTIONS[name].schema({"start": "2026-06-01", "path": "/", field: nested})
    (error,) = (each for each in errors_of(caught.value) if each.path[:1] == [field])
    assert len(str(error)) < 200


def errors_of(error: vol.Invalid) -> list[vol.Invalid]:
    """Return the single errors of what a schema has raised."""
    return error.errors if isinstance(error, vol.MultipleInvalid) else [error]


def test_energy_has_the_digits_of_the_meter() -> None:
    """What many small differences sum up to is shown without the computer's own digits."""
    outcome = Outcome("kWh", has_sum=True, more=0.1 + 0.2)
    assert statistics._outcome(outcome)["energy_moved"] == 0.3


async def test_example_of_the_document(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    folder: Path,
    freezer: FrozenDateTimeFactory,
) -> None:
    """The script that writes a file of the last month does."""
    freezer.move_to(NOON)
    section = DOCUMENT.read_text().partition("### Export data logger")[2]
    text = section.split("```yaml")[1].partition("```")[0]
    example = cast("Answer", parse_yaml(text))
    data = example["sequence"][0]["data"]
    data["config_entry_id"] = loaded.entry_id
    data["path"] = data["path"].replace("/media/", f"{folder}/")
    messages = async_mock_service(hass, "notify", "notify")
    assert await async_setup_component(hass, "script", {"script": {"month": example}})
    await hass.services.async_call("script", "month", blocking=True)
    await hass.async_block_till_done(wait_background_tasks=True)
    midnight = NOON.astimezone(ZONE).replace(hour=0).timestamp()
    expected = [r.index for r in server.meter.records() if r.stamp <= midnight]
    found = rows(folder / "load-profile.csv")
    assert [int(row["index"]) for row in found] == expected
    (message,) = messages
    assert message.data["message"] == (
        f"{len(expected)} records until 2026-06-01T00:00:00-07:00 are in"
        f" {folder}/load-profile.csv. Lines that could not be read: 0."
    )
