"""The EMU Professional II TCP/IP as its manual describes it.

Nothing in this package knows Home Assistant. Chapters named in docstrings are
those of the manual, document 1475, version 2.4.
"""
