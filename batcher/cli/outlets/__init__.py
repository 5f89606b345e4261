"""Where a run is watched: progress, the log file, metrics, spans, and the command at its end."""
