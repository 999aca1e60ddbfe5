"""The firmware of the meters' communication modules. Chapter "Firmware-Update".

One image is kept for all meters (`kept`), given by the owner or found at the vendor's
address (`vendor`). `updater` brings it into one meter, with the procedure of
`emu.updater`; `activity` is the one signal that this meter is busy with it. An update
that Home Assistant's stop has interrupted is noted on disk, and `unfinished` finds out
at the next start how it ended:

    owner or vendor ──► kept ──► update entity ──► updater ──► emu.updater ──► meter
                                                      │  ▲
                                              activity   unfinished ◄── restart
"""
