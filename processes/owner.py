"""Does over Home Assistant's own interfaces what its owner would do in a browser."""

import asyncio
from datetime import UTC, datetime
from http import HTTPStatus
import json
from typing import Any, Self

from aiohttp import ClientSession, FormData

from .running import until

DOMAIN = "emu_professional"
USER = "demo"
PASSWORD = "demo"

IMPORT_PRICES = {"T1": 0.31, "T2": 0.24}
"""Per kWh, of each tariff."""
EXPORT_PRICE = 0.11

_ENTRIES = "/api/config/config_entries"
_AUTOMATIONS = "/api/config/automation/config"
_TRIES = 5


class OwnerError(Exception):
    """Home Assistant did not do what its owner asked for."""


class Owner:
    """The owner of one Home Assistant."""

    def __init__(self, session: ClientSession, url: str) -> None:
        """Know where Home Assistant is."""
        self._session = session
        self._url = url
        self._client_id = f"{url}/"
        self._headers: dict[str, str] = {}
        self._refresh_token = ""

    async def log_in(self) -> None:
        """Log in, as a new owner if there is none yet."""
        if "user" in await self._onboarding_steps_to_do():
            code = await self._create_account()
        else:
            code = await self._authorize()
        tokens = await self.post(
            "/auth/token",
            data={
                "client_id": self._client_id,
                "grant_type": "authorization_code",
                "code": code,
            },
        )
        self._refresh_token = tokens["refresh_token"]
        self._headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        for step in await self._onboarding_steps_to_do():
            await self.post(
                f"/api/onboarding/{step}",
                json={"client_id": self._client_id, "redirect_uri": self._client_id}
                if step == "integration"
                else {},
            )

    async def log_out(self) -> None:
        """Leave no session behind."""
        await self.post("/auth/revoke", data={"token": self._refresh_token})

    async def wait_until_running(self) -> None:
        """Wait until Home Assistant has started everything."""
        while (await self.get("/api/config"))["state"] != "RUNNING":
            await asyncio.sleep(0.2)

    async def meters(self) -> list[dict[str, Any]]:
        """Return the config entries of meters."""
        entries = await self.get(f"{_ENTRIES}/entry?domain={DOMAIN}")
        return list(entries)

    async def add_meter(self, host: str, password: str = "") -> str:
        """Add a meter and return the id of its config entry."""
        answers = {"host": host, "password": password}
        step = await self.post(f"{_ENTRIES}/flow", json={"handler": DOMAIN})
        # A machine that is busy starting may be late once or twice.
        for _ in range(_TRIES):
            fields = {
                field["name"]: answers[field["name"]] for field in step["data_schema"]
            }
            step = await self.post(f"{_ENTRIES}/flow/{step['flow_id']}", json=fields)
            if step["type"] == "create_entry":
                return str(step["result"]["entry_id"])
        raise OwnerError(f"the meter at {host} can't be added: {step['errors']}")

    async def remove_meter(self, entry_id: str) -> None:
        """Remove a meter's config entry."""
        await self.delete(f"{_ENTRIES}/entry/{entry_id}")

    async def reconfigure_meter(self, entry_id: str, host: str) -> None:
        """Tell where a meter is now."""
        step = await self.post(
            f"{_ENTRIES}/flow",
            json={
                "handler": DOMAIN,
                "entry_id": entry_id,
                "show_advanced_options": False,
            },
        )
        step = await self.post(
            f"{_ENTRIES}/flow/{step['flow_id']}", json={"host": host}
        )
        if step["type"] != "abort":
            await self.delete(f"{_ENTRIES}/flow/{step['flow_id']}")
            raise OwnerError(f"no meter at {host}: {step['errors']}")

    async def fill_by_itself(self, entry_id: str, *, is_on: bool) -> None:
        """Choose whether statistics are filled automatically."""
        await self._set_options(entry_id, "statistics", automatic_backfill=is_on)

    async def give_firmware(self, entry_id: str, image: bytes) -> None:
        """Give Home Assistant a firmware for all meters, in the options of one."""
        form = FormData()
        form.add_field("file", image, filename="firmware.bin")
        file = await self.post("/api/file_upload", data=form)
        await self._set_options(
            entry_id,
            "firmware",
            firmware_file=file["file_id"],
            check_for_firmware=False,
        )

    async def _set_options(self, entry_id: str, part: str, **answers: Any) -> None:
        """Answer one of the dialogs of a meter's options."""
        flows = f"{_ENTRIES}/options/flow"
        step = await self.post(flows, json={"handler": entry_id})
        for given in ({"next_step_id": part}, answers):
            step = await self.post(f"{flows}/{step['flow_id']}", json=given)
        if step["type"] != "create_entry":
            raise OwnerError(f"the {part} options are refused: {step['errors']}")

    async def install_firmware(self, entity_id: str, version: str) -> None:
        """Install a firmware that was given; return when the update is at its end.

        It is named, because it is not offered before the meter has said what runs.
        """
        data = {"entity_id": entity_id, "version": version}
        await self.post("/api/services/update/install", json=data)

    async def add_automation(self, key: str, blueprint: str, **inputs: Any) -> None:
        """Make or change an automation of a blueprint.

        Its entity is `automation.` and the key.
        """
        used = {"path": f"{DOMAIN}/{blueprint}.yaml", "input": inputs}
        await self.post(
            f"{_AUTOMATIONS}/{key}", json={"alias": key, "use_blueprint": used}
        )
        # Home Assistant answers before it has loaded the automation.
        await until(lambda: self._has_state(f"automation.{key}"))

    async def _has_state(self, entity_id: str) -> bool:
        states = await self.get("/api/states")
        return any(state["entity_id"] == entity_id for state in states)

    async def remove_automation(self, key: str) -> None:
        """Remove an automation."""
        await self.delete(f"{_AUTOMATIONS}/{key}")

    async def run_automation(self, key: str) -> None:
        """Run the actions of an automation, to their end."""
        data = {"entity_id": f"automation.{key}"}
        await self.post("/api/services/automation/trigger", json=data)

    async def notifications(self) -> list[dict[str, Any]]:
        """Return the notifications, the oldest first."""
        notifications = await self.ask("persistent_notification/get")
        return sorted(notifications, key=lambda one: one["created_at"])

    async def dismiss_notifications(self) -> None:
        """Dismiss all notifications."""
        await self.post("/api/services/persistent_notification/dismiss_all")

    async def reload_meter(self, entry_id: str) -> None:
        """Reload a meter's config entry."""
        await self.post(f"{_ENTRIES}/entry/{entry_id}/reload")

    async def fix(self, issue_id: str, **answers: str) -> None:
        """Fix an issue of ours in its dialog."""
        flows = "/api/repairs/issues/fix"
        issue = {"handler": DOMAIN, "issue_id": issue_id}
        step = await self.post(flows, json=issue)
        step = await self.post(f"{flows}/{step['flow_id']}", json=answers)
        if step["type"] != "create_entry":
            raise OwnerError(f"{issue_id} is not fixed: {step}")

    async def ignore_discovered_meters(self) -> None:
        """End the dialogs that wait for the owner."""
        for flow in await self.ask("config_entries/flow/progress"):
            if flow["handler"] == DOMAIN:
                await self.delete(f"{_ENTRIES}/flow/{flow['flow_id']}")

    async def diagnostics(self, entry_id: str) -> str:
        """Return the file that can be downloaded for a meter's config entry."""
        return json.dumps(await self.get(f"/api/diagnostics/config_entry/{entry_id}"))

    async def entities(self, serial_number: str) -> dict[str, str]:
        """Return the entity ids of a meter by the keys in their unique ids."""
        return {
            entity["unique_id"].removeprefix(f"{serial_number}_"): entity["entity_id"]
            for entity in await self._registered(serial_number)
        }

    async def disabled(self, serial_number: str) -> set[str]:
        """Return the entity ids of a meter that are disabled."""
        return {
            entity["entity_id"]
            for entity in await self._registered(serial_number)
            if entity["disabled_by"]
        }

    async def _registered(self, serial_number: str) -> list[dict[str, Any]]:
        """Return the entries of a meter in the entity registry."""
        return [
            entity
            for entity in await self.ask("config/entity_registry/list")
            if entity["platform"] == DOMAIN
            and entity["unique_id"].startswith(f"{serial_number}_")
        ]

    async def enable(self, entity_id: str) -> None:
        """Enable an entity; it is there after a reload of its config entry."""
        await self.ask(
            "config/entity_registry/update", entity_id=entity_id, disabled_by=None
        )

    async def disable(self, entity_id: str) -> None:
        """Disable an entity, which is gone at once."""
        await self.ask(
            "config/entity_registry/update", entity_id=entity_id, disabled_by="user"
        )

    async def state(self, entity_id: str) -> str:
        """Return the state of an entity."""
        return str((await self.get(f"/api/states/{entity_id}"))["state"])

    async def forget_state(self, entity_id: str) -> None:
        """Take away a state that was posted."""
        await self.delete(f"/api/states/{entity_id}")

    async def rows(
        self, statistic_id: str, begin: datetime, end: datetime
    ) -> list[dict[str, float]]:
        """Return the hours of an energy statistic that there are.

        `start` is in ms since 1970-01-01 UTC, `state` and `change` are in Wh.
        """
        answer = await self.ask(
            "recorder/statistics_during_period",
            start_time=begin.isoformat(),
            end_time=end.isoformat(),
            statistic_ids=[statistic_id],
            period="hour",
            types=["state", "change"],
            units={"energy": "Wh"},
        )
        return list(answer.get(statistic_id, []))

    async def hours(
        self, statistic_id: str, begin: datetime, end: datetime
    ) -> dict[datetime, int]:
        """Return what an energy statistic counts in each of its hours, in Wh."""
        return {
            datetime.fromtimestamp(row["start"] / 1000, UTC): round(row["change"])
            for row in await self.rows(statistic_id, begin, end)
        }

    async def issues(self) -> list[str]:
        """Return the ids of the issues that are there, of whatever integration."""
        answer = await self.ask("repairs/list_issues")
        return [issue["issue_id"] for issue in answer["issues"]]

    async def act(self, action: str, **data: Any) -> dict[str, Any]:
        """Perform an action that has a response, and return that."""
        path = f"/api/services/{action.replace('.', '/')}?return_response"
        answer = await self.post(path, json=data)
        return dict(answer["service_response"])

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Return what the websocket answers to a command."""
        async with self._socket() as socket:
            return await socket.ask(command, **arguments)

    async def keep_address(self) -> None:
        """Confirm the address that Home Assistant was started with.

        It is on trial for five minutes when it comes from the configuration
        file, and a repair asks to take it out of there: that is done already.
        """
        async with self._socket() as socket:
            await socket.ask("http/config/promote")
            await socket.ask(
                "repairs/ignore_issue",
                domain="http",
                issue_id="deprecated_yaml",
                ignore=True,
            )

    async def set_up_energy_dashboard(
        self, serial_number: str, *, priced: bool = True
    ) -> None:
        """Show the meter as the grid's on the dashboard, unless something is there.

        Each tariff is a connection, with its price; the first one has the power.
        """
        async with self._socket() as socket:
            if await _is_set_up(socket):
                return
            entity_ids = await self.entities(serial_number)
            first, second = (
                {
                    "type": "grid",
                    "name": f"Grid {tariff}",
                    "stat_energy_from": entity_ids[f"energy_import_{tariff.lower()}"],
                    "stat_energy_to": entity_ids[f"energy_export_{tariff.lower()}"],
                    "number_energy_price": price if priced else None,
                    "number_energy_price_export": EXPORT_PRICE if priced else None,
                    "cost_adjustment_day": 0,
                }
                for tariff, price in IMPORT_PRICES.items()
            )
            first["stat_rate"] = entity_ids["active_power"]
            await socket.ask("energy/save_prefs", energy_sources=[first, second])

    async def clear_energy_dashboard(self) -> None:
        """Show nothing on the energy dashboard."""
        await self.ask("energy/save_prefs", energy_sources=[])

    async def device_path(self, serial_number: str) -> str:
        """Return where the meter's page is."""
        devices = await self.ask("config/device_registry/list")
        return next(
            f"/config/devices/device/{device['id']}"
            for device in devices
            if [DOMAIN, serial_number] in device["identifiers"]
        )

    async def _onboarding_steps_to_do(self) -> list[str]:
        async with self._session.get(f"{self._url}/api/onboarding") as response:
            if response.status == HTTPStatus.NOT_FOUND:
                return []
            steps = await response.json()
        return [step["step"] for step in steps if not step["done"]]

    async def _create_account(self) -> str:
        answer = await self.post(
            "/api/onboarding/users",
            json={
                "client_id": self._client_id,
                "name": USER.capitalize(),
                "username": USER,
                "password": PASSWORD,
                "language": "en",
            },
        )
        return str(answer["auth_code"])

    async def _authorize(self) -> str:
        step = await self.post(
            "/auth/login_flow",
            json={
                "client_id": self._client_id,
                "handler": ["homeassistant", None],
                "redirect_uri": self._client_id,
            },
        )
        step = await self.post(
            f"/auth/login_flow/{step['flow_id']}",
            json={
                "client_id": self._client_id,
                "username": USER,
                "password": PASSWORD,
            },
        )
        if step["type"] != "create_entry":
            raise OwnerError(
                f"user {USER} with password {PASSWORD} can't log in: "
                "start over with --fresh"
            )
        return str(step["result"])

    async def get(self, path: str) -> Any:
        """Return what an address answers; OwnerError if it refuses."""
        return await self._request("GET", path)

    async def post(self, path: str, **body: Any) -> Any:
        """Return what an address answers to `json` or `data`."""
        return await self._request("POST", path, **body)

    async def delete(self, path: str) -> None:
        """Remove what is at an address."""
        await self._request("DELETE", path)

    async def _request(self, method: str, path: str, **body: Any) -> Any:
        async with self._session.request(
            method, self._url + path, headers=self._headers, **body
        ) as response:
            if not response.ok:
                raise OwnerError(f"{path}: {response.status} {await response.text()}")
            if response.content_type != "application/json":
                return None
            return await response.json()

    def _socket(self) -> _Socket:
        token = self._headers["Authorization"].removeprefix("Bearer ")
        return _Socket(self._session, f"{self._url}/api/websocket", token)


class _Socket:
    """A connection to Home Assistant's websocket."""

    def __init__(self, session: ClientSession, url: str, token: str) -> None:
        self._connecting = session.ws_connect(url)
        self._token = token
        self._number = 0

    async def __aenter__(self) -> Self:
        self._socket = await self._connecting
        await self._socket.receive_json()
        await self._socket.send_json({"type": "auth", "access_token": self._token})
        answer = await self._socket.receive_json()
        if answer["type"] != "auth_ok":
            raise OwnerError(f"no way in: {answer}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Return what a command answers."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "type": command, **arguments})
        while (answer := await self._socket.receive_json())["id"] != self._number:
            pass
        if not answer["success"]:
            raise OwnerError(f"{command}: {answer['error']['message']}")
        return answer["result"]


async def _is_set_up(socket: _Socket) -> bool:
    try:
        return bool((await socket.ask("energy/get_prefs"))["energy_sources"])
    except OwnerError:
        return False
