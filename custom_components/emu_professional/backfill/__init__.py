"""From the meter's data logger into Home Assistant's long-term statistics.

The verbs
---------
compare   decide by the clock, the outages and the seals which hours to read
fill      one run: read hours of the logger, and make the statistics follow them
plan      calculate the rows to write and the shift (`plan_register`, `plan_means`,
          `plan_costs`); nothing is written
follow    carry the plans of one part out: costs first, then the energy
settle    note in the ledger until when a statistic follows the logger
seal      note number and total of the settled rows of a month
verify    compare the rows of a month with its seal

The nouns
---------
level     a register as if it had never restarted: register + `lift`
offset    the difference of a row's sum and its level, constant in a series
shift     what is added to the sums of all rows from one on
anchor    the short-term row for Home Assistant to continue from
outage    a time in which Home Assistant did not observe the meter
"""
