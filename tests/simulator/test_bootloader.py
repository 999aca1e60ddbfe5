"""The boot loader swaps, reverts and refuses like MCUboot; imgtool judges the images."""

from itertools import islice
from pathlib import Path
import struct
import subprocess
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, strategies as st
from imgtool.image import Image as Judge, VerifyResult  # type: ignore[import-untyped]
from imgtool.keys import Ed25519Public  # type: ignore[import-untyped]
import pytest

from simulator.bootloader import (
    HEADER_SIZE,
    SECTOR,
    BadImageError,
    Bootloader,
    Slot,
    Swap,
    is_valid,
    read_image,
)
from simulator.images import (
    FOREIGN_KEY,
    TEST_KEY,
    Trait,
    main,
    public_key,
    signed_image,
    trait_of,
    unsigned_image,
    version_of,
)

OLD = signed_image("1.0.16")
NEW = signed_image("1.0.17")
SIGNATURE_SIZE = 64
"""Bytes at the end of an image."""


@pytest.fixture
def loader() -> Bootloader:
    """Return a module with the old image."""
    return new_loader()


def new_loader() -> Bootloader:
    """Return a module with the old image, in small slots that are soon swapped."""
    return Bootloader(OLD, key=public_key(), slot_size=10 * SECTOR)


def upload(loader: Bootloader, image: bytes = NEW) -> None:
    """Write an image into slot 1."""
    loader.erase()
    loader.write(0, image)


def running(loader: Bootloader) -> str | None:
    """Return the running version."""
    return version_of(loader.running) if loader.running else None


def shown(loader: Bootloader) -> list[tuple[str, str]]:
    """Return version and flags of each slot in `image list`."""
    names = ("pending", "confirmed", "active", "permanent")
    return [
        (slot.version, " ".join(name for name in names if getattr(slot, name)))
        for slot in loader.slots
    ]


def test_factory_flashes_one_confirmed_image(loader: Bootloader) -> None:
    """The factory flashes one confirmed image."""
    assert loader.slots == [
        Slot(
            slot=0,
            version="1.0.16",
            hash=read_image(OLD).hash,
            confirmed=True,
            active=True,
        )
    ]
    loader.power_cycle()
    assert shown(loader) == [("1.0.16", "confirmed active")]
    assert running(loader) == "1.0.16"


def test_upload_alone_changes_nothing(loader: Bootloader) -> None:
    """An upload alone changes nothing."""
    upload(loader)
    loader.power_cycle()
    assert shown(loader) == [("1.0.16", "confirmed active"), ("1.0.17", "")]
    assert running(loader) == "1.0.16"


def test_image_on_trial_is_reverted_at_the_second_reset(loader: Bootloader) -> None:
    """An image on trial is reverted at the second reset."""
    upload(loader)
    loader.mark_pending()
    assert shown(loader) == [("1.0.16", "confirmed active"), ("1.0.17", "pending")]
    loader.power_cycle()
    assert shown(loader) == [("1.0.17", "active"), ("1.0.16", "confirmed")]
    assert running(loader) == "1.0.17"
    for _ in range(3):
        loader.power_cycle()
        assert shown(loader) == [("1.0.16", "confirmed active"), ("1.0.17", "")]
        assert running(loader) == "1.0.16"


def test_confirmed_image_stays(loader: Bootloader) -> None:
    """A confirmed image stays, and the old one can be tested again."""
    upload(loader)
    loader.mark_pending()
    loader.power_cycle()
    loader.confirm()
    loader.confirm()
    for _ in range(3):
        assert shown(loader) == [("1.0.17", "confirmed active"), ("1.0.16", "")]
        loader.power_cycle()
    loader.mark_pending()
    loader.power_cycle()
    assert shown(loader) == [("1.0.16", "active"), ("1.0.17", "confirmed")]


def test_permanent_image_never_comes_back(loader: Bootloader) -> None:
    """An image confirmed before its trial stays, good or bad."""
    upload(loader, signed_image("1.0.17", trait=Trait.NEVER_BOOTS))
    loader.mark_pending(permanent=True)
    assert loader.swap is Swap.PERMANENT
    assert shown(loader)[1] == ("1.0.17", "pending permanent")
    for _ in range(3):
        loader.power_cycle()
        assert shown(loader) == [("1.0.17", "confirmed active"), ("1.0.16", "")]


def half() -> bytes:
    """Return half of an image."""
    return NEW[: len(NEW) // 2]


@pytest.mark.parametrize("permanent", [False, True])
@pytest.mark.parametrize(
    "image",
    [
        signed_image("1.0.17", trait=Trait.WRONG_SIGNATURE),
        signed_image("1.0.17", trait=Trait.WRONG_HASH),
        unsigned_image("1.0.17"),
        half(),
    ],
    ids=["signature", "hash", "unsigned", "half"],
)
def test_bad_image_is_erased_and_the_old_one_stays(
    loader: Bootloader, image: bytes, permanent: bool
) -> None:
    """A bad image is erased at boot, and the old one stays confirmed."""
    upload(loader, image)
    loader.mark_pending(permanent=permanent)
    for _ in range(2):
        loader.power_cycle()
        assert running(loader) == "1.0.16"
        assert shown(loader) == [("1.0.16", "confirmed active")]
    assert set(loader.flash[1]) == {0xFF}


def test_refused_swap_stays_marked(loader: Bootloader) -> None:
    """Without a swap the boot loader boots slot 0, at each reset."""
    loader.write(0, NEW)
    loader.mark_pending()
    loader.refuses_swaps = True
    for _ in range(3):
        loader.power_cycle()
        assert loader.running is not None
        assert version_of(loader.running) == "1.0.16"
        assert loader.swap is Swap.TEST
    loader.erase()
    assert loader.swap is Swap.NONE


@pytest.mark.parametrize("trait", [Trait.WRONG_SIGNATURE, Trait.WRONG_HASH])
def test_bad_image_is_listed_like_any_other(loader: Bootloader, trait: Trait) -> None:
    """The list believes the image."""
    image = signed_image("1.0.17", trait=trait)
    upload(loader, image)
    assert loader.slots[1].hash == read_image(image).hash
    assert loader.slots[1].version == "1.0.17"


@given(size=st.integers(0, len(NEW) - 1))
def test_part_of_an_image_is_not_listed(size: int) -> None:
    """Part of an image is not booted, and listed only if just the signature is cut."""
    loader = new_loader()
    upload(loader, NEW[:size])
    assert len(loader.slots) == (1 if size < len(NEW) - SIGNATURE_SIZE else 2)
    loader.mark_pending()
    loader.power_cycle()
    assert shown(loader) == [("1.0.16", "confirmed active")]


@given(
    cuts=st.lists(st.integers(0, 12), max_size=12),
    permanent=st.booleans(),
    good=st.booleans(),
)
def test_power_loss_during_the_boot_changes_nothing(
    cuts: list[int], permanent: bool, good: bool
) -> None:
    """An interrupted swap continues; afterwards the slots are as without the cuts.

    A cut after the last step is a second reset and reverts: steps end before it.
    """
    trait = Trait.GOOD if good else Trait.WRONG_SIGNATURE
    loaders = [new_loader() for _ in range(2)]
    for loader in loaders:
        upload(loader, signed_image("1.0.17", trait=trait))
        loader.mark_pending(permanent=permanent)
    straight, cut = loaders
    straight.power_cycle()
    swapped = 0
    for steps in cuts:
        if swapped + steps > 9:
            break
        swapped += max(0, steps - 1)
        assert len(list(islice(cut.boot_steps(), steps))) == steps or not good
    cut.power_cycle()
    assert shown(cut) == shown(straight)
    assert cut.running == straight.running
    straight.power_cycle()
    cut.power_cycle()
    assert shown(cut) == shown(straight)
    assert cut.flash == straight.flash


@given(cuts=st.lists(st.integers(0, 15), max_size=30), confirm=st.booleans())
def test_there_is_always_something_to_boot(cuts: list[int], confirm: bool) -> None:
    """However often the power is lost, one whole image boots when it stays."""
    loader = new_loader()
    upload(loader)
    loader.mark_pending()
    for steps in cuts:
        for _ in islice(loader.boot_steps(), steps):
            pass
        if confirm and loader.running is not None:
            loader.confirm()
    loader.power_cycle()
    assert running(loader) in {"1.0.16", "1.0.17"}
    loader.power_cycle()
    assert running(loader) in {"1.0.16", "1.0.17"}
    assert [flags for _, flags in shown(loader)] in (
        ["confirmed active", ""],
        ["active", "confirmed"],
    )


@given(steps=st.integers(0, 10))
def test_power_loss_during_an_erasure_leaves_nothing_to_boot(steps: int) -> None:
    """A half-erased slot is not booted."""
    loader = new_loader()
    upload(loader)
    loader.mark_pending()
    for _ in islice(loader.erase_steps(), steps):
        pass
    loader.power_cycle()
    assert running(loader) == ("1.0.17" if steps == 0 else "1.0.16")


def verdict(path: Path, image: bytes) -> VerifyResult | None:
    """Return imgtool's verdict; None if it gives up."""
    path.write_bytes(image)
    key = Ed25519Public(Ed25519PublicKey.from_public_bytes(public_key()))
    try:
        return Judge.verify(str(path), key)[0]
    except struct.error:
        return None


@pytest.mark.parametrize(
    ("trait", "result"),
    [
        (Trait.GOOD, VerifyResult.OK),
        (Trait.NO_WEB_PAGE, VerifyResult.OK),
        (Trait.NEVER_BOOTS, VerifyResult.OK),
        (Trait.WRONG_SIGNATURE, VerifyResult.INVALID_SIGNATURE),
        (Trait.WRONG_HASH, VerifyResult.INVALID_HASH),
    ],
)
def test_imgtool_judges_the_images(
    tmp_path: Path, trait: Trait, result: VerifyResult
) -> None:
    """Judge of the images is imgtool."""
    image = signed_image("1.0.17", trait=trait)
    assert verdict(tmp_path / "image.bin", image) is result
    assert is_valid(image, public_key()) is (result is VerifyResult.OK)


@given(data=st.data())
def test_imgtool_agrees_about_changed_images(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The boot loader and imgtool accept and refuse the same images."""
    image = bytearray(signed_image("1.0.17", size=2048))
    at = data.draw(
        st.integers(0, HEADER_SIZE - 1) | st.integers(0, len(image) - 1), label="at"
    )
    image[at] ^= data.draw(st.integers(1, 255), label="change")
    size = data.draw(st.sampled_from([2048, 2048, 2047, 1900, 600, 31]), label="size")
    changed = bytes(image[:size])
    accepted = verdict(tmp_path_factory.getbasetemp() / "changed.bin", changed)
    if is_valid(changed, public_key()):
        assert accepted is VerifyResult.OK
    elif accepted is VerifyResult.OK:
        # imgtool is not interested in the hash of the key and in the size of the TLVs.
        assert at >= len(read_image(signed_image("1.0.17", size=2048)).hashed)


def test_unsigned_images_have_a_right_hash(tmp_path: Path) -> None:
    """An unsigned image, made by hand, has a right hash."""
    path = tmp_path / "image.bin"
    path.write_bytes(unsigned_image("1.0.16", size=4000))
    assert path.stat().st_size == 4000
    result, version, _, _ = Judge.verify(str(path), None)
    assert result is VerifyResult.OK
    assert version == (1, 0, 16, 0)
    assert is_valid(path.read_bytes(), None)
    assert not is_valid(path.read_bytes(), public_key())


@pytest.mark.parametrize(
    ("version", "printed"),
    [("1.0.17", "1.0.17"), ("1.2.3.4", "1.2.3.4"), ("1.2.3+4", "1.2.3.4")],
)
@pytest.mark.parametrize("make", [signed_image, unsigned_image])
def test_versions_are_printed_like_the_meter_does(
    make: object, version: str, printed: str
) -> None:
    """Versions are printed with the build number only if there is one."""
    assert callable(make)
    assert version_of(make(version)) == printed


@pytest.mark.parametrize("size", [1024, 20 * 1024, 204_913])
def test_images_have_the_size_of_choice(size: int) -> None:
    """Images have the size of choice and are the same every time."""
    image = signed_image("1.0.17", size=size)
    assert len(image) == size
    signed_image.cache_clear()
    assert signed_image("1.0.17", size=size) == image
    assert signed_image("1.0.18", size=size) != image
    with pytest.raises(ValueError, match="No room"):
        signed_image("1.0.17", size=600)


def test_traits_and_keys_are_in_the_image() -> None:
    """Traits and keys are in the image."""
    for trait in Trait:
        assert trait_of(signed_image("1.0.17", trait=trait)) is trait
    assert trait_of(b"nothing") is Trait.NEVER_BOOTS
    assert public_key(TEST_KEY) != public_key(FOREIGN_KEY)
    foreign = signed_image("1.0.17", key=FOREIGN_KEY)
    assert is_valid(foreign, public_key(FOREIGN_KEY))
    assert not is_valid(foreign, public_key())


def test_slots_have_limits() -> None:
    """An image must fit into a slot of whole sectors."""
    with pytest.raises(ValueError, match="whole sectors"):
        Bootloader(OLD, slot_size=10_000)
    with pytest.raises(ValueError, match="larger than the slot"):
        Bootloader(OLD, slot_size=5 * SECTOR)
    with pytest.raises(BadImageError):
        version_of(b"\xff" * 100)


def test_command_writes_an_image(tmp_path: Path) -> None:
    """`python -m simulator.images` writes an image."""
    path = tmp_path / "firmware.bin"
    main(["1.0.18", str(path), "--trait", "no-web-page"])
    assert path.read_bytes() == signed_image(
        "1.0.18", size=200 * 1024, trait=Trait.NO_WEB_PAGE
    )


def test_simulator_starts_without_imgtool() -> None:
    """Importing the simulator does not import imgtool, and it runs without it."""
    code = (
        "import sys; sys.modules['imgtool'] = None\n"
        "import simulator.__main__, simulator.updater.module as module\n"
        "assert 'imgtool.image' not in sys.modules\n"
        "loader = module.new_flash(None, '1.0.16')\n"
        "print(loader.slots[0].version, loader.key)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1.0.16 None\n"
