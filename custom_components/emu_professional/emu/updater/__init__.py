"""An update of the firmware in a meter's communication module, from check to confirm.

Chapter "Firmware-Update". The module boots with MCUboot and has two slots of flash: the
image in slot 0 runs, an upload goes to slot 1.

    step       in                module                     slot 0       slot 1
    ─────────────────────────────────────────────────────────────────────────────────
    check      image, procedure  nothing is sent to it      old          ·
    upload     upload            takes chunks, lists hash   old          new
    test       trial             marks slot 1 as pending    old          new, pending
    restart    restarts          swaps the slots            new on trial old
    trial      trial             must serve its readings    new on trial old
    confirm    trial             keeps the new image        new          old

The ways back: before *test* nothing has changed. From *test* to *confirm* any restart,
also a power failure, ends with the old image: the boot loader refuses a bad image, and
swaps an image on trial back. `way_back` only does the same at once, where the owner or
a failed trial wants it. So no outcome leaves a meter without a confirmed image that
boots; the only uncertain ones are those in which nobody answers any more, and each of
them has its own `Reason` (`outcome`).

From the bottom up: `datagrams` (UDP, when to repeat), `messages` (SMP as bytes),
`exchange` (one request), `session` (the commands), `slots` (reading their state),
`module` (a meter that restarts and moves), and then the steps.
"""
