"""Owns `make bench`: how fast callbacks are acknowledged and become news, as ratios to baselines of the same run."""
