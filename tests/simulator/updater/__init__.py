"""The simulated updater speaks SMP over real UDP; `smp` and `smpclient` judge it."""
