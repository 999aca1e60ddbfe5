"""Serial numbers, in whichever form a meter prints them.

What a meter says is normalized where it is read. What is stored may be in another
form, of another release or another firmware: it is compared, never equated.
"""

from functools import lru_cache


@lru_cache(maxsize=64)
def normalized(serial_number: str) -> str:
    """Return a serial number without blanks around it and without leading zeros.

    Nobody has published the form of the data logger's column: `0022350001` and
    ` 22350001` there are the meter that status.json calls `22350001`.
    """
    text = serial_number.strip()
    return text.lstrip("0") or text[:1]


def is_same_meter(serial_number: str | None, other: str | None) -> bool:
    """Return whether two serial numbers are known, and of the same meter."""
    if serial_number is None or other is None:
        return False
    return normalized(serial_number) == normalized(other)
