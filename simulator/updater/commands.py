"""The commands of the server: a table, and the OS group."""

from collections.abc import Awaitable, Callable

from . import smp
from .image_group import ImageGroup
from .module import Module
from .smp import (
    Age,
    Group,
    ImageCommand,
    Json,
    Op,
    OsCommand,
    Rc,
    RefusedError,
    UpdateRequest,
)
from .upload import Uploads

type _Handler = Callable[[UpdateRequest], Awaitable[Json]]


class Commands:
    """Executes requests by their operation, group and command."""

    def __init__(
        self, module: Module, uploads: Uploads, reset_soon: Callable[[], None]
    ) -> None:
        """Name the module, and the way to reset it."""
        self._module = module
        self._images = ImageGroup(module)
        self._uploads = uploads
        self._reset_soon = reset_soon
        self._handlers: dict[tuple[int, int, int], _Handler] = {
            (Op.READ, Group.OS, OsCommand.ECHO): self._echo,
            (Op.WRITE, Group.OS, OsCommand.ECHO): self._echo,
            (Op.WRITE, Group.OS, OsCommand.RESET): self._reset,
            (Op.READ, Group.OS, OsCommand.PARAMETERS): self._parameters,
            (Op.READ, Group.IMAGE, ImageCommand.STATE): self._state,
            (Op.WRITE, Group.IMAGE, ImageCommand.STATE): self._set_state,
            (Op.WRITE, Group.IMAGE, ImageCommand.ERASE): self._erase,
            (Op.WRITE, Group.IMAGE, ImageCommand.UPLOAD): self._upload,
        }

    async def execute(self, request: UpdateRequest) -> Json:
        """Execute a request, and return the content of its answer. Raises RefusedError."""
        key = (request.op, request.group, request.command)
        if (handler := self._handlers.get(key)) is None:
            raise RefusedError(Rc.NOT_SUPPORTED)
        return await handler(request)

    async def _echo(self, request: UpdateRequest) -> Json:
        text = request.body.get("d")
        if not isinstance(text, str):
            raise RefusedError(Rc.INVALID)
        return {"r": text}

    async def _reset(self, request: UpdateRequest) -> Json:
        self._reset_soon()
        return {}

    async def _parameters(self, request: UpdateRequest) -> Json:
        config = self._module.config
        shown = config.shows_parameters
        if not (config.age is Age.MODERN if shown is None else shown):
            raise RefusedError(Rc.NOT_SUPPORTED)
        return {"buf_size": config.datagram_size, "buf_count": config.buffers}

    async def _state(self, request: UpdateRequest) -> Json:
        return self._images.state()

    async def _set_state(self, request: UpdateRequest) -> Json:
        return self._images.set_state(request.body)

    async def _erase(self, request: UpdateRequest) -> Json:
        await self._images.erase(request.body)
        self._uploads.forget()
        return smp.success({}, self._module.config.age)

    async def _upload(self, request: UpdateRequest) -> Json:
        content = await self._uploads.take_chunk(request)
        return smp.success(content, self._module.config.age)
