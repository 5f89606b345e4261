"""What a ledger tells about a run or a load test, as one HTML page that needs nothing else."""
