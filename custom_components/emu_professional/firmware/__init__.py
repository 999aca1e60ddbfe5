"""The firmware of the meters' communication modules. Chapter "Firmware-Update"."""
