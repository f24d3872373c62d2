"""Which rows a sampled read gives.

The rule: `samples` positions spread evenly over the rows in step order, the first and the last
row always among them. The same rows and the same number of samples give the same answer.
"""

from __future__ import annotations


def sample_positions(total: int, samples: int) -> range | list[int]:
    """Positions to keep out of `total` rows, ascending and distinct."""
    if samples >= total:
        return range(total)
    if samples <= 1:
        return range(max(samples, 0))
    return [index * (total - 1) // (samples - 1) for index in range(samples)]
