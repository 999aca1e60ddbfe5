"""`python -m simulator` serves meters until it is told to stop."""

import asyncio
import json
import signal

import aiohttp
import pytest

from simulator.__main__ import main

from .conftest import run


async def address(process: asyncio.subprocess.Process) -> tuple[str, str]:
    """Return serial number and address from the next line of the log."""
    assert process.stderr is not None
    words = (await process.stderr.readline()).decode().split()
    assert words[0] == "Meter"
    return words[1], words[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_command_serves_until_a_signal(
    started: list[asyncio.subprocess.Process],
    session: aiohttp.ClientSession,
    number: signal.Signals,
) -> None:
    """Command serves until a signal."""
    process = await run(
        *("--port", "0", "--serial", "22350007", "--serial", "21000000"),
        *("--password", "secret", "--seed", "3", "--installed", "2026-05-01"),
        *("--clock", "2026-06-01T12:00:00+02:00", "--speed", "0"),
    )
    started.append(process)
    meters = [await address(process), await address(process)]
    assert [serial_number for serial_number, _ in meters] == ["22350007", "21000000"]
    headers = {"Authorization": "Basic YWRtaW46c2VjcmV0"}
    documents = []
    for _, url in meters:
        async with session.get(url + "meterdata.json") as response:
            assert response.status == 401
        async with session.get(url + "meterdata.json", headers=headers) as response:
            documents.append(json.loads(await response.text()))
    assert [document["meterdatetime"] for document in documents] == [1_780_308_000] * 2
    assert [document["showMinMax"] for document in documents] == [True, False]
    assert documents[0]["p_L123_act_e"] != documents[1]["p_L123_act_e"]
    assert 100 < float(documents[0]["wpulse_cnt_L123_e"]) < 1000
    process.send_signal(number)
    assert await process.wait() == 0
    assert process.stderr is not None
    assert await process.stderr.read() == b""


async def test_command_without_extremes_and_with_one_connection(
    started: list[asyncio.subprocess.Process], session: aiohttp.ClientSession
) -> None:
    """Command without extremes and with one connection."""
    process = await run("--port", "0", "--no-min-max", "--connections", "1")
    started.append(process)
    serial_number, url = await address(process)
    assert serial_number == "22350001"
    async with session.get(url + "meterdata.json") as response:
        document = await response.json()
        assert document["showMinMax"] is False
        async with aiohttp.ClientSession() as other:
            with pytest.raises(aiohttp.ClientConnectionError):
                await other.get(url)


async def test_command_with_a_logger_to_taste(
    started: list[asyncio.subprocess.Process], session: aiohttp.ClientSession
) -> None:
    """Command with a logger to taste."""
    process = await run(
        *("--port", "0", "--installed", "2026-05-01", "--clock", "2026-06-01"),
        *("--speed", "0", "--interval", "5", "--depth", "1000"),
        *("--power-failure", "2026-05-31T01:00/2026-05-31T13:02+02:00"),
        *("--power-failure", "2026-05-31T23:00/2026-05-31T23:57"),
        *("--first-index", "1", "--logger-delay", "0"),
    )
    started.append(process)
    _, url = await address(process)
    async with session.get(url + "data/") as response:
        header, newest, *records = (await response.text()).splitlines()
    assert header.startswith("Timestamp;Index;Status;Serial;Active")
    assert len(records) == 999
    assert newest.startswith("2026-06-01T00:00:00Z;8797;32;22350001;")
    assert records[0].startswith("2026-05-31T23:00:00Z;8796;0;")
    statuses = [record.split(";")[2] for record in records]
    assert [record for record in records if record.split(";")[2] == "32"] == [
        record for record in records if record.startswith("2026-05-31T11:05:00Z;")
    ]
    assert statuses.count("32") == 1


async def test_command_without_a_logger(
    started: list[asyncio.subprocess.Process], session: aiohttp.ClientSession
) -> None:
    """Command without a logger."""
    process = await run("--port", "0", "--no-logger")
    started.append(process)
    _, url = await address(process)
    async with session.get(url + "data/") as response:
        assert response.status == 404


async def test_command_says_when_the_port_is_taken(
    started: list[asyncio.subprocess.Process], socket_enabled: None
) -> None:
    """Command says when the port is taken."""
    first = await run("--port", "0")
    started.append(first)
    _, url = await address(first)
    second = await run("--port", url.rstrip("/").rpartition(":")[2])
    started.append(second)
    assert second.stderr is not None
    text = (await second.stderr.read()).decode()
    assert "in use" in text
    assert "Traceback" not in text
    assert await second.wait() == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--speed", "-1"),
        ("--clock", "yesterday"),
        ("--password", "x" * 21),
        ("--serial", "EMU"),
        ("--connections", "0"),
        ("--interval", "61"),
        ("--interval", "0"),
        ("--depth", "x"),
        ("--power-failure", "2026-05-31"),
        ("--power-failure", "2026-05-31T02:00/2026-05-31T01:00"),
        ("--separator", "|"),
        ("--first-index", "-1"),
        ("--logger-delay", "x"),
        ("--logger-latency", "soon"),
        ("--logger-latency", "1/-2"),
        ("--logger-latency", "inf"),
    ],
)
def test_command_explains_wrong_arguments(
    arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Command explains wrong arguments."""
    with pytest.raises(SystemExit):
        main(arguments)
    assert arguments[0] in capsys.readouterr().err
