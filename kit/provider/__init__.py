"""The provider room: everything the outside speaks, and nothing of ledger, service or notebook."""
