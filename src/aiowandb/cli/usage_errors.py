"""One-line messages for wrong command lines: which option, what is allowed, "did you mean"."""

from __future__ import annotations

import re
from typing import Any

import click

from aiowandb.errors import UsageError
from aiowandb.suggestions import did_you_mean, listed

# Messages of click that do not say what would be valid.
_NO_NUMBER = re.compile(r"^(?P<value>.*) is not a valid [^ ]+(?: range)?\.$")
_NO_RANGE = re.compile(r"^(?P<value>.*) is not in the range .*\.$")
# Where the library's messages have the name of an argument.
_AS_AN_ARGUMENT = r"^{0}(?= (?:requires|must)\b)|(?<=leave ){0}(?= out)|(?<=in ){0}(?=, which)"


class Group(click.Group):
    """A group of commands that suggests the right one after a typo."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            hint = did_you_mean(name, self.commands) or f". Commands: {', '.join(self.commands)}."
            raise click.UsageError(f"No such command {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if error.ctx is None and (command := self._invoked(ctx)):
                # click's parser does not set it
                error.ctx = click.Context(command, ctx, ctx.invoked_subcommand)
            raise
        except UsageError as error:
            if command := self._invoked(ctx):
                error.args = (_with_options(str(error), command),)
            raise

    def _invoked(self, ctx: click.Context) -> click.Command | None:
        name = ctx.invoked_subcommand
        return self.get_command(ctx, name) if name else None


def _with_options(text: str, command: click.Command) -> str:
    """The library's message with options in place of argument names."""
    for param in command.params:
        option = next((name for name in param.opts if name.startswith("--")), None)
        if not option or not param.name:
            continue
        if "_" in param.name:
            text = re.sub(rf"(?<![\w.-]){param.name}(?:=(?!\w)|\b)(?![(.])", option, text)
        else:  # an ordinary word, which may occur elsewhere in the sentence
            text = re.sub(_AS_AN_ARGUMENT.format(param.name), option, text)
    return text


def usage_error_line(error: click.UsageError) -> str:
    """The message for a wrong command line."""
    text = _text(error).rstrip()
    if not text.endswith((".", "?", ")")):
        text += "."
    where = error.ctx.command_path if error.ctx else "aiowandb"
    return f"{text} See {where} --help"


def _text(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption):
        return f"No such option {error.option_name!r}{_nearest_option(error)}"
    if isinstance(error, click.MissingParameter):
        kind = error.param.param_type_name if error.param else "parameter"
        hint = error.param_hint or (error.param and error.param.get_error_hint(error.ctx))
        said = " / ".join(hint) if isinstance(hint, list | tuple) else hint or ""
        return f"Missing {kind} {said}"
    if isinstance(error, click.BadParameter):
        return _bad_value(error)
    if isinstance(error, click.BadOptionUsage):
        return f"{error.message.rstrip('.')}{_argument_of(error)}"
    if error.message.startswith("Got unexpected extra argument") and error.ctx:
        takes = " ".join(error.ctx.command.collect_usage_pieces(error.ctx))
        return f"{error.message.rstrip('.')}: expected {takes}"
    return error.message


def _nearest_option(error: click.NoSuchOption) -> str:
    if error.ctx is None:
        return ""
    options = _options(error.ctx)
    return did_you_mean(error.option_name, options) or f". Options: {', '.join(options)}"


def _options(ctx: click.Context) -> list[str]:
    params = ctx.command.get_params(ctx)
    names = [name for param in params for name in (*param.opts, *param.secondary_opts)]
    return [name for name in names if name.startswith("--")]


def _bad_value(error: click.BadParameter) -> str:
    param = error.param
    if param is None:
        return error.format_message()
    name = param.get_error_hint(error.ctx).strip("'[]")
    message = error.message
    if isinstance(param.type, click.Choice) and (value := _quoted(message)) is not None:
        words = [str(choice) for choice in param.type.choices]
        return f"{name}: {value!r} is not one of {listed(words)}{did_you_mean(value, words)}"
    for pattern in (_NO_NUMBER, _NO_RANGE):
        if found := pattern.match(message):
            return f"{name}: {found['value']} is not {expected(param)}"
    if isinstance(param.type, click.DateTime):
        return f"{name}: {_quoted(message)!r} is not {expected(param)}"
    return f"{name}: {message}"


def _argument_of(error: click.BadOptionUsage) -> str:
    """What value the option takes, if that is missing."""
    if error.ctx is None or "requires an argument" not in error.message:
        return ""
    for param in error.ctx.command.get_params(error.ctx):
        if error.option_name in param.opts:
            return f": {expected(param)}"
    return ""


def expected(param: click.Parameter) -> str:
    """What values a parameter takes."""
    kind = param.type
    if isinstance(kind, click.Choice):
        return f"one of {listed(str(choice) for choice in kind.choices)}"
    if isinstance(kind, click.IntRange | click.FloatRange):
        number = "a whole number" if isinstance(kind, click.IntRange) else "a number"
        if kind.min is not None and kind.max is not None:
            return f"{number} from {kind.min} to {kind.max}"
        least = "above" if kind.min_open else "of at least"
        return number if kind.min is None else f"{number} {least} {kind.min}"
    if isinstance(kind, click.types.IntParamType):
        return "a whole number"
    if isinstance(kind, click.DateTime):
        return "a date like 2026-01-31 or 2026-01-31T12:30:00"
    return param.metavar or kind.name.upper()


def _quoted(message: str) -> str | None:
    """The value that the message starts with."""
    found = re.match(r"'((?:[^'\\]|\\.)*)'", message) or re.match(r'"((?:[^"\\]|\\.)*)"', message)
    return found[1] if found else None
