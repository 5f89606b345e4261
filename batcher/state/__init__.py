"""What is known about a target from one sync to the next: which pairs are in, out or uncertain, and the last feed.

`store` is the file, `difference` compares it with a feed, `folding` applies outcomes from ledgers to it. Sets of pairs
are handled by DuckDB, which can join more than fits into memory.
"""
