"""Raw requests to a server with faults."""

import asyncio
import json
from typing import Any

from simulator import faults
from simulator.web import MeterServer

DATA = "/meterdata.json"


STATUS = "/status.json"


POWER = "p_L123_act_e"


ENERGY = "wpulse_cnt_L123_e"


HOUR = 3600.0


SILENT = faults.Silent()


async def raw(server: MeterServer, path: str = DATA) -> tuple[str, bytes]:
    """Return head and body of an answer, read until the server closes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    request = f"GET {path} HTTP/1.1\r\nHost: meter\r\nConnection: close\r\n\r\n"
    writer.write(request.encode())
    try:
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body


async def document(server: MeterServer) -> dict[str, Any]:
    """Return the document of an answer."""
    _, body = await raw(server)
    answer: dict[str, Any] = json.loads(body)
    return answer


async def asked(
    server: MeterServer,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask and do not read."""
    reader, writer = await asyncio.open_connection(server.host, server.port, limit=1000)
    writer.write(f"GET {DATA} HTTP/1.1\r\nHost: meter\r\n\r\n".encode())
    return reader, writer


async def status(server: MeterServer, path: str) -> int:
    """Return the status of an answer."""
    head, _ = await raw(server, path)
    return int(head.split()[1])


def lines(body: bytes, separator: bytes = b",") -> list[list[bytes]]:
    """Return the fields of each line of a table."""
    return [line.split(separator) for line in body.splitlines()]


TABLE = "/data/?last=7"
