"""Images that both we and MCUboot's tool accept, or both refuse, and the exceptions."""

from pathlib import Path
import random

from hypothesis import given, strategies as st
from imgtool import image as judge  # type: ignore[import-untyped]
import pytest

from custom_components.emu_professional.emu.errors import RejectReason
from custom_components.emu_professional.emu.updater.image import (
    Image,
    Version,
    read_firmware,
)

from .images import (
    HEADER,
    KEYS,
    Parts,
    is_accepted_by_judge,
    key,
    mutate,
    refusal,
    signed,
)


@pytest.mark.parametrize("name", KEYS)
def test_signed_image(tmp_path: Path, name: str) -> None:
    """Version, hash, signature and size are read as the judge reads them."""
    content = signed("1.0.16+4", signing_key=name, security_counter=7)
    path = tmp_path / "image.bin"
    path.write_bytes(content)
    result, version, digest, _ = judge.Image.verify(str(path), key(name))
    assert result is judge.VerifyResult.OK
    image = read_firmware(content)
    assert image == Image(Version(*version), digest, name, content)
    assert str(image.version) == "1.0.16.4"
    assert image.size == len(content)


STRICTER_AT = {
    # The judge is content with a signature alone; a meter lists images by their hash.
    # It also reads the type of a record from one byte, MCUboot from two.
    RejectReason.NO_HASH: {4, 5},
    RejectReason.NOT_SIGNED: {77},
    # It accepts a record that reaches beyond its area, and anything after the
    # record that it looks for.
    RejectReason.DAMAGED: {2, 3, 78, 79},
}
"""Why we may refuse what the judge takes, and which byte of the TLVs was changed."""


def test_a_thousand_mutated_images(tmp_path: Path) -> None:
    """The judge with the key and we without it agree, or the exception is listed.

    Bytes are changed, put in or left out everywhere, half of them among the numbers.
    Only the bytes of the signature itself need the key, and only the meter has it:
    there the judge is asked without it.
    """
    path = tmp_path / "image.bin"
    chance = random.Random(4)
    originals = [
        (signed(), "ECDSA", HEADER + 1500),
        (signed(security_counter=7), "ECDSA", HEADER + 1500 + 12),
        (signed(signing_key="RSA-2048"), "RSA-2048", HEADER + 1500),
    ]
    verdicts: set[bool] = set()
    for number in range(1000):
        original, name, tlvs = originals[number % len(originals)]
        signature = tlvs + 4 + 36 + 36 + 4
        mutant = mutate(original, chance, tlvs)
        reason = refusal(mutant)
        verdicts.add(reason is None)
        is_signature = mutant.startswith(original[:signature])
        is_complete = len(mutant) >= len(original)
        accepted = is_accepted_by_judge(
            path, mutant, None if is_signature and is_complete else key(name)
        )
        if accepted is (reason is None):
            continue
        assert accepted
        assert reason
        both = enumerate(zip(original, mutant, strict=False))
        first = next(at for at, (old, new) in both if old != new)
        assert first - tlvs in STRICTER_AT[reason]
    assert verdicts == {True, False}


def test_every_length(tmp_path: Path) -> None:
    """A file without any number of bytes at its end is refused, as by the judge."""
    content = signed(size=200)
    for length in range(len(content)):
        assert refusal(content[:length]) in {
            RejectReason.NOT_AN_IMAGE,
            RejectReason.TRUNCATED,
        }
    assert not is_accepted_by_judge(tmp_path / "image.bin", content[:-1], key())


@given(
    st.builds(
        Parts,
        address=st.sampled_from((0, 0x0800_0000, 0x4000_0000)),
        header_size=st.sampled_from((0, 31, 32, 33, 100)),
        protected_size=st.sampled_from((None, None, 0, 4, 12)),
        size=st.sampled_from((None, None, 0, 199, 201, 0xFFFF_FFFF)),
        flags=st.sampled_from((0, 1, 4, 0x20)),
        protected=st.lists(
            st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=9)), max_size=2
        ).map(tuple),
        signature=st.lists(
            st.tuples(st.integers(0x1F, 0x26), st.binary(max_size=70)), max_size=3
        ).map(tuple),
    )
)
def test_taken_images_are_taken_by_the_judge(
    tmp_path_factory: pytest.TempPathFactory, parts: Parts
) -> None:
    """With any numbers in an image: we take none against the judge."""
    content = parts.build()
    if refusal(content) is None:
        path = tmp_path_factory.getbasetemp() / "image.bin"
        assert is_accepted_by_judge(path, content)


STRICTER = {
    "in the meter's peripherals": (
        Parts(address=0x4000_0000),
        RejectReason.OTHER_PRODUCT,
    ),
    "nowhere": (Parts(address=0xFFFF_FFFF), RejectReason.OTHER_PRODUCT),
    "encrypted": (Parts(flags=0x4), RejectReason.OTHER_PRODUCT),
    "not bootable": (Parts(flags=0x10), RejectReason.OTHER_PRODUCT),
    "loaded to RAM": (Parts(flags=0x20), RejectReason.OTHER_PRODUCT),
    "compressed": (Parts(flags=0x200), RejectReason.OTHER_PRODUCT),
    # MCUboot compares the number in the header with the area that is there.
    "another protected size": (
        Parts(protected=((0x50, bytes(4)),), protected_size=0),
        RejectReason.DAMAGED,
    ),
    "protected size without the area": (Parts(protected_size=4), RejectReason.DAMAGED),
    # The header is 32 bytes: a body that begins in it is none.
    "a header that is too short": (
        Parts(header_size=31, body=bytes(200), size=201),
        RejectReason.DAMAGED,
    ),
    "no body": (Parts(body=b""), RejectReason.DAMAGED),
    "no signature": (Parts(signature=()), RejectReason.NOT_SIGNED),
    "an empty signature": (Parts(signature=((0x20, b""),)), RejectReason.NOT_SIGNED),
}


@pytest.mark.parametrize("name", STRICTER)
def test_stricter_than_the_judge(tmp_path: Path, name: str) -> None:
    """Images that the judge leaves to the meter are refused before they are sent."""
    parts, reason = STRICTER[name]
    content = parts.build()
    assert refusal(content) is reason
    assert is_accepted_by_judge(tmp_path / "image.bin", content)
