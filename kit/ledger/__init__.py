"""What we know: the facts, the database that keeps them, the state derived from them, and the tables over it."""
