"""A device that is not the meter, and writes down what it is told."""

from collections.abc import Mapping
import json
from typing import override

from aiohttp import web

from simulator.serving import Serving


class Stranger(Serving):
    """Answers every request the same way; `secrets` has the passwords that it got."""

    def __init__(
        self,
        host: str,
        port: int,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        document: Mapping[str, object] | None = None,
        admits: bool = False,
    ) -> None:
        """Prepare to serve; one that `admits` lets in whoever sends a password."""
        self.host = host
        self.port = port
        self.requests = 0
        self.secrets: list[str] = []
        self._status = status
        self._headers = headers
        self._body = json.dumps(document or {})
        self._admits = admits
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """Address of its web page."""
        return f"http://{self.host}:{self.port}/"

    @override
    async def start(self) -> None:
        """Serve from now on."""
        self._runner = web.ServerRunner(web.Server(self._answer))
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port).start()

    @override
    async def stop(self) -> None:
        """Serve no longer."""
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        self.requests += 1
        secret = request.headers.get("Authorization")
        if secret:
            self.secrets.append(secret)
        if secret and self._admits:
            return web.Response(text=self._body)
        return web.Response(status=self._status, headers=self._headers, text=self._body)
