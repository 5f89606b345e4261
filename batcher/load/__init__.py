"""Load runs: the packing, pacing, delivery and ledger of other runs, with timed arrivals and measured latencies."""
