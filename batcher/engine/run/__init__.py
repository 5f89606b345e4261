"""One run at work: windows in, batches out, settlements to the ledger (`pipeline`)."""
