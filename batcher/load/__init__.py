"""Measured load runs: the same packing, pacing, delivery and ledger, with arrivals by the clock and a stop-watch."""
