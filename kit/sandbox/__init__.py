"""The simulated provider: a real HTTP server on loopback that charges, makes media, calls back and misbehaves."""
