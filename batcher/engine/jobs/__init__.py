"""What a user can ask for: apply, resume, retry, check, and a prediction of what a run would come to."""
