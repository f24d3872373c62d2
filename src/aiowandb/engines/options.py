"""The options of a source as engines pass them: names in any case, and values as text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from aiowandb.choices import EventStream, LiveRows
from aiowandb.errors import UsageError
from aiowandb.readplan import ReadPlan
from aiowandb.suggestions import no_such
from aiowandb.sync import Api, Runs


class SourceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to read, in how many parts, and from which W&B.

    There is no option for the API key, because engines show options in plans and logs. It comes
    from the environment or netrc of the process that plans.
    """

    path: str
    keys: tuple[str, ...] | None = None
    any_key: bool = True
    exclude: tuple[str, ...] = ()
    min_step: int | None = None
    max_step: int | None = None
    stream: EventStream = "default"
    live: LiveRows = "read"
    check_files: bool = False
    filters: Mapping[str, Any] | None = None
    parts: int = 64
    base_url: str | None = None

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> SourceOptions:
        """The options by the names that users write; unknown ones are an error."""
        names = {name.replace("_", ""): name for name in cls.__struct_fields__}
        found: dict[str, Any] = {}
        for name, text in given.items():
            plain = name.lower().replace("_", "")
            if plain in ("apikey", "key", "token"):
                raise UsageError(
                    f"{name} is not an option, because engines show options: set WANDB_API_KEY"
                    " in the process that plans."
                )
            if plain not in names:
                raise UsageError(no_such("option", name, sorted(names.values())))
            found[names[plain]] = _parsed(names[plain], text)
        if not found.get("path"):
            raise UsageError("The option path is missing: set it to a path like 'entity/project'.")
        try:
            return msgspec.convert(found, cls)
        except msgspec.ValidationError as error:
            raise UsageError(f"An option has an invalid value: {error}") from None

    def plan(self, after: Mapping[str, int] | None = None) -> ReadPlan:
        """The plan, for which W&B is asked where the rows are."""
        with Api(base_url=self.base_url) as api:
            return self.runs(api).plan(
                self.keys,
                self.exclude,
                self.min_step,
                self.max_step,
                any_key=self.any_key,
                stream=self.stream,
                live=self.live,
                after=after,
                check_files=self.check_files,
            )

    def runs(self, api: Api) -> Runs:
        """The runs to read."""
        return api.runs(self.path, self.filters, include=["history_keys"], per_page=500)

    def last_steps(self) -> dict[str, int]:
        """The present last step of each run, as far as its rows are to be read."""
        with Api(base_url=self.base_url) as api:
            found = {run.id: run.last_step for run in self.runs(api) if run.last_step >= 0}
        # Rows that are in no file yet are left out until they are in one.
        return self.plan().last_steps if found and self.live == "skip" else found


def _names(text: str) -> tuple[str, ...]:
    if text.lstrip().startswith("["):
        return tuple(json.loads(text))
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _flag(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "keys": _names,
    "exclude": _names,
    "min_step": int,
    "max_step": int,
    "parts": int,
    "any_key": _flag,
    "check_files": _flag,
    "filters": json.loads,
}


def _parsed(name: str, text: str) -> Any:
    try:
        return _PARSERS.get(name, str)(text)
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"The option {name} cannot be {text!r}.") from None
