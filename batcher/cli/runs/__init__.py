"""Runs as the command line makes them: the event loop, signals, credentials, the embedded server, the ledger's name."""
