"""The durable results file of one run: schema, the one writer, reading back, results."""
