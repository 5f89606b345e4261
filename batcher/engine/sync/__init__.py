"""Changes that come from a feed and a state, and how a run is undone."""
