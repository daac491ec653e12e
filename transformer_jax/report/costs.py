"""What a measured program costs without a clock, of the columns that its row has."""


def flops(row: dict) -> float | None:
    """FLOPs of one step: those of its jaxpr, or of its matmuls by their closed form where a fused kernel hides them."""
    return row.get("jaxpr_flops") or row.get("closed_form_flops")


def memory_bytes(row: dict) -> int | None:
    """Bytes of arguments, outputs and temporaries together; what is argument and output counts once. None: XLA planned
    none."""
    parts = [row.get(f"{part}_bytes") for part in ("argument", "output", "temp")]
    return None if None in parts else sum(parts) - (row.get("alias_bytes") or 0)
