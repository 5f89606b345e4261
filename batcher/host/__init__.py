"""The machine that runs share: its clocks and network as arguments (`runtime`), the run registry, and the rate."""
