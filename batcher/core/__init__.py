"""The decisions: pure functions and small state machines, without await, clock, randomness, files or logging.

- Data types: `model`, `verdict`, `errors`, `http`, `report`.
- From changes to requests: `coalesce`, `wire`, `cover`, `pack`, `split`, based on `order` and `identity`.
- What is sent next: `schedule`, with `lanes` and `late` requests, `blame` (is the run or a change at fault?), and
  `lessons`, what refusals teach (`size_learner`, `quarantine`).
- How fast, how many at once, when to retry: `limit`, `concurrency`, `retry`, `health`.
- Shared by targets: `target`, `replies`, `secrets`.
"""
