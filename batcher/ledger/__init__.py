"""The ledger, the durable results file of one run: schema, its only writer, reading it back, results."""
