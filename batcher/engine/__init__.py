"""Wires the stages into one task group (`run`), builds them from settings (`session`), and holds the jobs.

`feed`, `intake` and `admission` bring windows in, `digest` says what a batch that came back means for the others,
`committer` brings outcomes down to the ledger; `budget` and `watchdog` end a run that should not go on.

What comes before a run: `scan` looks at files of changes, `drafting` makes them of a feed and a state, `guarding`
judges them, `planning` writes down what was seen so that it binds. `held_state` is a state in the hands of one run.
"""
