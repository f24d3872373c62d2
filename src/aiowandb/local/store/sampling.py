"""Which rows a sampled read gives.

The rule: `samples` positions spread evenly over the rows in step order, the first and the last
row always among them. The same rows and the same number of samples give the same answer.
"""

from __future__ import annotations


def sample_positions(total: int, samples: int) -> list[int]:
    """Positions to keep out of `total` rows, ascending and distinct."""
    if samples >= total:
        return list(range(total))
    if samples <= 1:
        return [0] if samples == 1 and total else []
    return [index * (total - 1) // (samples - 1) for index in range(samples)]
