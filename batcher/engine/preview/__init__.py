"""Checks of inputs before anything is sent: whether they are complete, what they contain, and the guardrails."""
