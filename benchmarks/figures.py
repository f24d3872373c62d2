"""What a scene finds: figures that must hold, and the costs that they were made from."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Literal

import msgspec

from benchmarks.rounds import Samples, Setting


class Effort(msgspec.Struct, frozen=True):
    """How often to measure, and how much of the full size. Figures hold at scale 1."""

    rounds: int
    scale: float

    def of(self, size: int) -> int:
        """This size, scaled."""
        return max(1, round(size * self.scale))


class Figure(msgspec.Struct, frozen=True):
    """A value a round, whose median must lie on the right side of the limit."""

    scene: str
    what: str
    values: list[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def must_be(self) -> str:
        """The limit in words; nothing, if the figure is there to be known only."""
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return "" if self.at_most is None else f"<= {self.at_most:g}"

    @property
    def is_met(self) -> bool:
        if self.at_least is not None:
            return self.median >= self.at_least
        return self.at_most is None or self.median <= self.at_most


class Costs(msgspec.Struct, frozen=True):
    """What each contender's rounds took in one setting."""

    scene: str
    setting: Setting
    samples: Samples


class Findings(msgspec.Struct, frozen=True):
    """What a scene has found."""

    figures: list[Figure]
    costs: list[Costs] = []


Scene = Callable[[Effort], Findings]


# The kernel counts the time of a processor in these: a tiny scene may take none.
_TICK_S = 0.01


def ratios(samples: Samples, what: Literal["cpu", "wall"], above: str, below: str) -> list[float]:
    """What one contender took over what the other took, round by round."""
    pairs = zip(samples[above], samples[below], strict=True)
    return [
        getattr(one.cost, what) / max(getattr(other.cost, what), _TICK_S) for one, other in pairs
    ]
