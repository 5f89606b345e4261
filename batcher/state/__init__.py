"""What is known of a target from night to night: which pairs are in, out or uncertain, and what the last feed wished.

`store` is the file, `difference` compares it with a feed, `folding` brings outcomes of ledgers into it. Sets of pairs
are DuckDB's business: it joins more than fits into memory.
"""
