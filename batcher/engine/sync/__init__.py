"""Changes that are computed from a feed and a state, and undoing a run."""
