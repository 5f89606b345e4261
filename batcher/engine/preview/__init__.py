"""What is known of inputs before anything is sent: whether they are whole, what is in them, what guardrails say."""
