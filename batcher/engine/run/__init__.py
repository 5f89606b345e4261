"""A run in progress: windows come in, batches go out, settlements are written to the ledger (`pipeline`)."""
