"""Faults of a whole answer, and of documents."""

import json
from typing import Any

import aiohttp
import pytest

from simulator import faults
from simulator.documents import Literal
from simulator.faults import Fault
from simulator.web import MeterServer

from .asking import DATA, ENERGY, POWER, document, raw


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
async def test_status_is_answered(server: MeterServer, status: int) -> None:
    """Status is answered."""
    server.faults.set(faults.Status(status))
    head, body = await raw(server)
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert "Content-Type: text/html" in head
    assert ("WWW-Authenticate: Basic" in head) is (status == 401)
    assert b"<html>" in body
    assert server.requests[0].status == status


async def test_redirect_names_another_address(server: MeterServer) -> None:
    """Redirect names another address."""
    server.faults.set(faults.Redirect("http://192.0.2.1/", 307))
    head, _ = await raw(server)
    assert head.startswith("HTTP/1.1 307 ")
    assert "Location: http://192.0.2.1/" in head


async def test_garbage_is_no_text(server: MeterServer) -> None:
    """Garbage is no text."""
    server.faults.set(faults.garbage(500))
    _, body = await raw(server)
    assert len(body) == 500
    assert body == faults.garbage(500).body
    with pytest.raises(UnicodeDecodeError):
        body.decode()


async def test_empty_body_is_a_success(server: MeterServer) -> None:
    """Empty body is a success."""
    server.faults.set(faults.empty_body())
    head, body = await raw(server)
    assert head.startswith("HTTP/1.1 200 ")
    assert body == b""


@pytest.mark.parametrize("text", ["[]", "[1]", '"text"', "1.5", "true", "null"])
async def test_document_may_be_no_object(server: MeterServer, text: str) -> None:
    """Document may be no object."""
    server.faults.set(faults.not_an_object(text))
    head, body = await raw(server)
    assert "Content-Type: application/json" in head
    assert body == text.encode()


async def test_truncated_json_is_a_complete_answer(
    server: MeterServer, right: bytes
) -> None:
    """Truncated json is a complete answer."""
    server.faults.set(faults.TruncatedJson())
    head, body = await raw(server)
    assert f"Content-Length: {len(body)}\r\n" in head
    assert body == right[: len(right) // 2]


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        (faults.null_values(POWER, ENERGY), {POWER: None, ENERGY: None}),
        (faults.dash_values(POWER, ENERGY), {POWER: "-", ENERGY: "-"}),
        (faults.ReplacedValues({POWER: "NaN"}), {POWER: "NaN"}),
        (faults.ReplacedValues({POWER: [[1], {}]}), {POWER: [[1], {}]}),
        (faults.ReplacedValues({POWER: 10**400}), {POWER: 10**400}),
        (faults.ReplacedValues({"new": "<b>"}), {"new": "<b>"}),
        (faults.literal_value(POWER, "1e999"), {POWER: float("inf")}),
    ],
)
async def test_values_are_replaced(
    server: MeterServer, right: bytes, fault: Fault, changes: dict[str, Any]
) -> None:
    """Values are replaced."""
    server.faults.set(fault)
    assert await document(server) == json.loads(right) | changes


async def test_literal_stands_as_it_is(server: MeterServer) -> None:
    """Literal stands as it is."""
    server.faults.set(faults.ReplacedValues({POWER: Literal("-00.1e")}))
    assert f'"{POWER}": -00.1e,'.encode() in (await raw(server))[1]


async def test_keys_are_missing(server: MeterServer, right: bytes) -> None:
    """Keys are missing."""
    server.faults.set(faults.MissingKeys(POWER, "unknown"))
    expected = json.loads(right)
    del expected[POWER]
    answer = await document(server)
    assert answer == expected
    assert list(answer) == list(expected)


async def test_documents_only_are_changed(server: MeterServer) -> None:
    """Documents only are changed."""
    server.faults.set(faults.TruncatedJson())
    assert (await raw(server, "/"))[1] == server.meter.page().encode()
    head, _ = await raw(server, "/nothing")
    assert head.startswith("HTTP/1.1 404 ")


async def test_content_type_is_wrong(server: MeterServer, right: bytes) -> None:
    """Content type is wrong."""
    server.faults.set(faults.ContentType())
    head, body = await raw(server)
    assert "Content-Type: text/html" in head
    assert body == right


@pytest.mark.parametrize("declared", [True, False])
async def test_huge_body_is_huge_and_right(
    server: MeterServer, session: aiohttp.ClientSession, right: bytes, declared: bool
) -> None:
    """Huge body is huge and right."""
    server.faults.set(faults.HugeBody(3_000_000, declared=declared))
    async with session.get(server.url + DATA[1:]) as response:
        assert response.content_length == (3_000_000 if declared else None)
        body = await response.read()
    assert len(body) == 3_000_000
    assert json.loads(body) == json.loads(right)
