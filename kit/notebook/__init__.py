"""What a person holds: the session, its tasks and their display; it decides nothing and keeps nothing of its own."""
