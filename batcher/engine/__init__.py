"""Wires the stages into one task group (`run`), builds them from settings (`session`), and holds the jobs."""
