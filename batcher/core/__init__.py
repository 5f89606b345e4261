"""What decides: pure functions and small state machines. No await, clock, dice, files or logging in here."""
