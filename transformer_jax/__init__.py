"""Measures what attention costs and what it buys, against a fair RNN."""
