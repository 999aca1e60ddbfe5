"""A simulated EMU Professional II TCP/IP, written from its manual (1475, V2.4) alone.

It imports nothing from the integration: a misreading of the manual must not be shared.
"""
