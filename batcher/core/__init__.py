"""What decides: pure functions and small state machines. No await, clock, dice, files or logging in here.

- What flows: `model`, `verdict`, `errors`, `http`, `report`.
- From wishes to requests: `coalesce`, `wire`, `cover`, `pack`, `split`, over `order` and `identity`.
- What goes next: `schedule`, with `lanes` and `late` requests, `blame` for the run or for changes, and what
  refusals teach: `lessons`.
- How fast, how many, when again: `limit`, `concurrency`, `retry`, `health`.
- What targets share: `target`, `replies`, `secrets`.
"""
