"""Serial numbers in their different forms."""

import pytest

from custom_components.emu_professional.emu.serial_number import is_same_meter


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("22350001", "0022350001", True),
        (" 22350001", "22350001", True),
        ("22350001", "22350002", False),
        ("0", "00", True),
        (None, "22350001", False),
        ("22350001", None, False),
        (None, None, False),
    ],
)
def test_same_meter(one: str | None, other: str | None, is_same: bool) -> None:
    """Blanks and zeros make no other meter; an unknown one is no meter's."""
    assert is_same_meter(one, other) is is_same
