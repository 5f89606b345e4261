"""From a batch to a verdict: waiting for a turn, attempts, retries, and whether anything may be sent at all."""
