"""Wires the stages into one task group (`run`), builds them from settings (`session`), and holds the jobs.

`feed`, `intake` and `admission` bring windows in, `digest` says what a batch that came back means for the others,
`books` brings outcomes down to the ledger; `budget` and `watchdog` end a run that should not go on.
"""
