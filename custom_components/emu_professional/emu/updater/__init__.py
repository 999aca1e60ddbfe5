"""An update of the firmware in a meter's communication module, from check to confirm.

Chapter "Firmware-Update". The module boots with MCUboot and has two slots of flash: the
image in slot 0 runs, an upload goes to slot 1. The "updater" is the update server in the
module. The image itself was checked before, when Home Assistant got it (`image`).

    step       in                module                     slot 0       slot 1
    ─────────────────────────────────────────────────────────────────────────────────
    check      procedure         only asked: status, slots  old          ·
    upload     upload            takes chunks, lists hash   old          new
    test       trial             marks slot 1 as pending    old          new, pending
    restart    restarts          swaps the slots            new on trial old
    trial      trial             must serve its readings    new on trial old
    confirm    trial             keeps the new image        new          old

The ways back: before *test* the next restart changes nothing. Between *test* and
*confirm* the boot loader refuses a bad image, and swaps an image on trial back at the
next restart, for instance after a power failure. `way_back` does the same at once, for
the owner or after a failed trial. *Confirm* is only sent to an image that runs and
serves readings, so an update can't brick a meter. Where nobody answers any more, the
outcome is unknown, and has a `Reason` of its own (`outcome`).

From the bottom up: `datagrams` (UDP, when to repeat), `messages` (SMP as bytes),
`exchange` (one request), `session` (the commands), `slots` (reading their state),
`module` (a meter that restarts and moves), and then the steps.
"""
