"""An update of a meter's firmware over real UDP, with any fault at any step.

In no case is the meter left without an image that boots and is there to stay, and in no
case does its owner read a false word.
"""
