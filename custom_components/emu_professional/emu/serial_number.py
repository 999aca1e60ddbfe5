"""Serial numbers, in different forms in the answers of one meter.

Serial numbers in answers are normalized by the parser. Stored ones may have the form
of another release or firmware: compare them with `is_same_meter`, not with `==`.
"""

from functools import lru_cache


@lru_cache(maxsize=64)
def normalized(serial_number: str) -> str:
    """Return a serial number without blanks around it and without leading zeros.

    The form of the data logger's column is unpublished: `0022350001` and ` 22350001`
    there count as the meter with `22350001` in status.json.
    """
    text = serial_number.strip()
    return text.lstrip("0") or text[:1]


def is_same_meter(serial_number: str | None, other: str | None) -> bool:
    """Return whether both serial numbers are known and denote the same meter."""
    if serial_number is None or other is None:
        return False
    return normalized(serial_number) == normalized(other)
