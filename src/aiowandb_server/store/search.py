"""Chooses the parameters for the next run of a sweep.

Grid and random search are complete. Bayesian search and early termination are not implemented: a
`bayes` sweep gets random parameters from the same space. A sweep with a scheduler of its own
(`wandb sweep-scheduler`) gets none from here: the scheduler enqueues its runs.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import yaml

from aiowandb_server.errors import RequestError
from aiowandb_server.store import json_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BOUNDS = frozenset({"min", "max", "mu", "sigma", "q"})
# Not libyaml's faster loader, which refuses lone surrogates and has no limit for nesting.
_LOADER = yaml.SafeLoader
_METHODS = ("grid", "random", "bayes")
# The limits of the YAML, in characters, and of its values once references are expanded.
_MAX_LENGTH = 2**18
_MAX_VALUES = 100_000
# Of the largest ones, these take some 100 MB.
_MAX_CACHED = 8
# Larger floats do not change if 1 is added.
_MAX_STEPS = 2**53


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The search space of a sweep's configuration."""

    method: str
    parameters: Mapping[str, Any]
    program: str | None
    run_cap: int | None
    metric: str | None
    maximize: bool
    has_scheduler: bool = False

    @property
    def size(self) -> int | None:
        """The number of runs; None if it is unlimited."""
        if self.method != "grid" or self.has_scheduler:
            return self.run_cap
        total = math.prod(axis.size for axis in _axes(self.parameters))
        return total if self.run_cap is None else min(total, self.run_cap)

    @property
    def names(self) -> list[str]:
        """The names of the parameters, dotted if they are nested."""
        return [".".join(path) for path, _ in _leaves(self.parameters)]

    def draw(self, number: int, seed: int) -> dict[str, Any] | None:
        """The parameters of run `number` (from 0); None after the last one."""
        if self.size is not None and number >= self.size:
            return None
        chosen: dict[str, Any] = {}
        if self.method == "grid":
            for axis in reversed(_axes(self.parameters)):
                number, index = divmod(number, axis.size)
                _put(chosen, axis.path, axis.value(index))
        else:
            chance = random.Random(f"{seed}:{number}")  # noqa: S311 - a search, not a secret
            for path, parameter in _leaves(self.parameters):
                _put(chosen, path, _sample(path, parameter, chance))
        return {name: chosen[name] for name in self.parameters}


# A long configuration takes seconds, and lists of sweeps and agents need it again and again.
@lru_cache(_MAX_CACHED)
def parse_space(config: str) -> SearchSpace:
    """The search space in a sweep's YAML. Raises RequestError."""
    settings = _settings(config)
    if not isinstance(settings, dict):
        raise RequestError(
            "a sweep's configuration must be a mapping with `method` and `parameters`"
        )
    method = settings.get("method")
    scheduler = settings.get("scheduler")
    has_scheduler = isinstance(scheduler, dict) and bool(scheduler.get("engine"))
    if has_scheduler and method not in _METHODS:
        method = "custom"
    elif method not in _METHODS:
        raise RequestError(f"unknown method {method!r}; use one of {', '.join(_METHODS)}")
    for key, kind in (("parameters", dict), ("metric", dict), ("program", str), ("run_cap", int)):
        if settings.get(key) and not isinstance(settings[key], kind):
            raise RequestError(f"`{key}` of a sweep cannot be {settings[key]!r}")
    metric = settings.get("metric") or {}
    space = SearchSpace(
        method,
        settings.get("parameters") or {},
        settings.get("program"),
        settings.get("run_cap"),
        metric["name"] if isinstance(metric.get("name"), str) else None,
        metric.get("goal") == "maximize",
        has_scheduler,
    )
    if has_scheduler:
        return space
    try:
        # Fail now if the parameters cannot be drawn, and not when an agent asks for them.
        space.draw(0, 0)
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RequestError(f"the sweep's parameters cannot be drawn: {error}") from error
    return space


def _settings(config: str) -> Any:
    """The settings in the YAML, which must be valid as JSON, because agents get them as JSON."""
    if len(config) > _MAX_LENGTH:
        raise RequestError(f"the sweep's configuration is longer than {_MAX_LENGTH} characters")
    try:
        _check_references(config)
        loaded = yaml.load(config, _LOADER)  # noqa: S506 - a safe one
        return json_text.loads(json.dumps(loaded, default=str))
    except yaml.YAMLError as error:
        raise RequestError(f"the sweep's configuration is not YAML: {error}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise RequestError(f"the sweep's configuration is not valid: {error}") from error


def _check_references(config: str) -> None:
    """Refuse YAML that is too large once its references (`*name`) are expanded."""
    sizes: dict[str, int] = {}
    # The names of the open collections, and the number of values in each so far.
    opened: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(config, _LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, 1))
            if len(opened) > json_text.MAX_DEPTH:
                raise RequestError("the sweep's configuration is nested too deeply")
            continue
        if isinstance(event, yaml.AliasEvent):
            # An unknown name refers to a collection that contains the reference: it is endless.
            anchor, size = None, sizes.get(str(event.anchor), _MAX_VALUES + 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = opened.pop()
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        name, total = opened.pop()
        opened.append((name, total + size))
        if total + size > _MAX_VALUES:
            raise RequestError(f"the sweep's configuration has more than {_MAX_VALUES} values")


def _leaves(
    parameters: Mapping[str, Any], prefix: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], Mapping[str, Any]]]:
    found = []
    for name, parameter in parameters.items():
        if not isinstance(parameter, dict):
            raise RequestError(f"parameter {name!r} must be a mapping like {{values: [1, 2]}}")
        if isinstance(parameter.get("parameters"), dict):
            found += _leaves(parameter["parameters"], (*prefix, name))
        else:
            found.append(((*prefix, name), parameter))
    return found


@dataclass(frozen=True, slots=True)
class _Axis:
    """The values of one parameter in a grid, computed on demand: there may be 10^9."""

    path: tuple[str, ...]
    size: int
    value: Callable[[int], Any]


def _axes(parameters: Mapping[str, Any]) -> list[_Axis]:
    return [_axis(path, parameter) for path, parameter in _leaves(parameters)]


def _axis(path: tuple[str, ...], parameter: Mapping[str, Any]) -> _Axis:
    if "values" in parameter:
        values = list(parameter["values"])
        return _Axis(path, len(values), values.__getitem__)
    if "value" in parameter:
        return _Axis(path, 1, lambda _: parameter["value"])
    parameter = _with_numbers(parameter)
    low, high = parameter.get("min"), parameter.get("max")
    if isinstance(low, int) and isinstance(high, int):
        return _Axis(path, max(high - low + 1, 0), lambda index: low + index)
    step = parameter.get("q")
    if step and low is not None and high is not None:
        count = int((high - low) / step + 1e-9) + 1
        if count > _MAX_STEPS:
            raise RequestError(f"{'.'.join(path)}: a grid of {count} values is too large")
        return _Axis(path, max(count, 0), lambda index: low + index * step)
    raise RequestError(f"{'.'.join(path)}: a grid needs `values`, or integers as `min` and `max`")


def _sample(path: tuple[str, ...], parameter: Mapping[str, Any], chance: random.Random) -> Any:
    kind = parameter.get("distribution") or _usual_distribution(parameter)
    draw = _DISTRIBUTIONS.get(kind.removeprefix("q_"))
    if draw is None:
        raise RequestError(f"{'.'.join(path)}: unknown distribution {kind!r}")
    try:
        drawn = draw(_with_numbers(parameter), chance)
    except (KeyError, TypeError, ValueError) as error:
        raise RequestError(f"{'.'.join(path)}: cannot draw from {kind!r}: {error!r}") from error
    step = parameter.get("q", 1) if kind.startswith("q_") else None
    return drawn if step is None else round(drawn / step) * step


def _with_numbers(parameter: Mapping[str, Any]) -> dict[str, Any]:
    """Convert bounds like `1e-5`, which YAML parses as a string, to numbers."""
    return {
        key: float(value) if key in _BOUNDS and isinstance(value, str) else value
        for key, value in parameter.items()
    }


def _usual_distribution(parameter: Mapping[str, Any]) -> str:
    if "value" in parameter:
        return "constant"
    if "values" in parameter:
        return "categorical"
    both = (parameter.get("min"), parameter.get("max"))
    return "int_uniform" if all(isinstance(bound, int) for bound in both) else "uniform"


def _log_between(low: float, high: float, chance: random.Random) -> float:
    return math.exp(chance.uniform(low, high))


def _log_values(low: float, high: float, chance: random.Random) -> float:
    drawn = _log_between(math.log(low), math.log(high), chance)
    return min(max(drawn, low), high)  # exp(log(x)) may differ slightly from x


_DISTRIBUTIONS: dict[str, Callable[[Mapping[str, Any], random.Random], Any]] = {
    "constant": lambda p, _: p["value"],
    "categorical": lambda p, chance: chance.choices(p["values"], p.get("probabilities"))[0],
    "categorical_w_probabilities": lambda p, chance: chance.choices(
        p["values"], p["probabilities"]
    )[0],
    "int_uniform": lambda p, chance: chance.randint(p["min"], p["max"]),
    "uniform": lambda p, chance: chance.uniform(p["min"], p["max"]),
    "log_uniform": lambda p, chance: _log_between(p["min"], p["max"], chance),
    "log_uniform_values": lambda p, chance: _log_values(p["min"], p["max"], chance),
    "inv_log_uniform": lambda p, chance: 1 / _log_between(p["min"], p["max"], chance),
    "inv_log_uniform_values": lambda p, chance: 1 / _log_values(1 / p["max"], 1 / p["min"], chance),
    "normal": lambda p, chance: chance.gauss(p.get("mu", 0), p.get("sigma", 1)),
    "log_normal": lambda p, chance: chance.lognormvariate(p.get("mu", 0), p.get("sigma", 1)),
}


def _put(target: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        target = target.setdefault(name, {})
    target[path[-1]] = value
