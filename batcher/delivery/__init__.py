"""From a batch to a verdict: turn, attempt, retry, and who may send at all."""
