"""The updater of a meter's communication module. Chapter "Firmware-Update"."""
