"""Learning one task after another: what to protect of the earlier ones, by how much, and what was forgotten."""
