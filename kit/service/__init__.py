"""The background process: owns what must not stop, and knows nothing of notebooks."""
