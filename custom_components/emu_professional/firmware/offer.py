"""The comparison of an image with the version that a meter shows."""

from ..emu.updater.image import Image, Version


def is_newer(image: Image, version: str | None) -> bool:
    """Return whether an image is newer than a version; True for a text that is none.

    Whoever can't read the version of the running firmware asks for its hash instead.
    """
    try:
        return version is None or image.version > Version.parse(version)
    except ValueError:
        return True


def normalized(version: str | None) -> str | None:
    """Return a version as images write theirs; unchanged if it is none."""
    try:
        return version and str(Version.parse(version))
    except ValueError:
        return version
