"""Connects the stages of a run in one task group (`run`), and holds what users can ask for (`jobs`, `sync`).

In `run`, `window_reader`, `intake` and `admission` bring windows in, `outcome_handler` decides what the outcome of a
batch means for the others, `committer` writes outcomes to the ledger, and `budget` and `watchdog` end a run that should
not continue.

Before a run, `preview` checks files of changes (`arrival`, `input_scan`, `guardrails`). In `sync`, `diff` makes such
files from a feed and a state, `saved_plan` stores what was planned so that nothing else is sent, and `locked_state` is
a state that one run has to itself.
"""
