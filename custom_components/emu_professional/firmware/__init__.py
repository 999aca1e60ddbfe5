"""The firmware of the meters' communication modules. Chapter "Firmware-Update".

One image is kept for all meters (`kept`), given by the owner or found at the vendor's
address (`vendor`). `meter_firmware` brings it into one meter, with the procedure of
`emu.updater`, by tasks of its own (`work`); `activity` is the one signal of a busy
meter. An update is noted on disk: if Home Assistant stops in the middle, `unfinished`
finds out at the next start how it ended:

    owner or vendor ──► kept ──► update entity ──► meter_firmware ──► emu.updater ──► meter
                                                      │       ▲
                                                  activity    unfinished ◄── restart
"""
