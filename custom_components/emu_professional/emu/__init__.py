"""The EMU Professional II TCP/IP as its manual describes it.

This package is independent of Home Assistant. Chapters named in docstrings are those
of the manual, document 1475, version 2.4.
"""
