"""The vendor's web server."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from simulator.images import signed_image

from .options import zipped


class Vendor:
    """The vendor's web server."""

    def __init__(self) -> None:
        """Offer an image."""
        self.content = zipped(signed_image("1.0.17"))
        self.requests: list[dict[str, str]] = []
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None
        self.answer = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer as web servers do, or otherwise."""
        self.requests.append(dict(request.headers))
        if self.answer:
            return await self.answer(request)
        etag = f'"{hash(self.content)}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        modified = "Mon, 01 Jun 2026 10:00:00 GMT"
        return web.Response(
            body=self.content, headers={"ETag": etag, "Last-Modified": modified}
        )
