"""The slots as the image group of commands lists, tests, confirms and erases them."""

from ..bootloader import Slot, Swap
from .module import Module
from .smp import Age, ImageRc, Json, Rc, RefusedError

_FLAGS = ("bootable", "pending", "confirmed", "active", "permanent")


class ImageGroup:
    """Commands for the slots of a module."""

    def __init__(self, module: Module) -> None:
        """Name the module."""
        self._module = module

    def state(self) -> Json:
        """List the slots."""
        slots = [self._listed(slot) for slot in self._module.bootloader.slots]
        is_legacy = self._module.config.age is Age.LEGACY
        return {"images": slots} | ({"splitStatus": 0} if is_legacy else {})

    def set_state(self, body: Json) -> Json:
        """Test or confirm an image, and list the slots."""
        wanted, confirm = body.get("hash"), body.get("confirm", False)
        if not isinstance(confirm, bool) or not isinstance(wanted, bytes | None):
            raise RefusedError(Rc.INVALID)
        slot = self._slot_to_set(wanted, confirm)
        loader = self._module.bootloader
        if slot == 0 and not confirm:
            raise RefusedError(ImageRc.TEST_OF_ACTIVE)
        if slot == 0 and loader.swap in (Swap.TEST, Swap.PERMANENT):
            raise RefusedError(ImageRc.ALREADY_PENDING)
        if slot == 1 and loader.swap is Swap.REVERT:
            raise RefusedError(ImageRc.ALREADY_PENDING)
        if slot == 0:
            loader.confirm()
        else:
            loader.mark_pending(permanent=confirm)
        return self.state()

    async def erase(self, body: Json) -> None:
        """Erase slot 1."""
        if body.get("slot", 1) != 1:
            raise RefusedError(ImageRc.INVALID_SLOT)
        if self._module.bootloader.image(1) and self._is_slot_1_in_use():
            raise RefusedError(ImageRc.NO_FREE_SLOT, Rc.BAD_STATE)
        await self._module.erase_slowly()

    def _listed(self, slot: Slot) -> Json:
        flags = {name: getattr(slot, name) for name in _FLAGS}
        named = {"slot": slot.slot, "version": slot.version, "hash": slot.hash}
        if self._module.config.age is Age.LEGACY:
            return named | flags
        return {"image": 0} | named | {name: True for name in flags if flags[name]}

    def _slot_to_set(self, wanted: bytes | None, confirm: bool) -> int:
        if not wanted and confirm:
            return 0
        for slot in self._module.bootloader.slots:
            if wanted and slot.hash == wanted:
                return slot.slot
        raise RefusedError(ImageRc.INVALID_HASH)

    def _is_slot_1_in_use(self) -> bool:
        swap = self._module.bootloader.swap
        if self._module.config.erases_pending:
            return swap is Swap.REVERT
        return swap is not Swap.NONE
