"""Firmware files: images and zips, judged by MCUboot's own tool."""
