"""The jobs that a user can start: apply, resume, retry, check, and predicting the course of a run."""
