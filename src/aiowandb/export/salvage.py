"""What can be read of a journal, even if some of it is damaged. Nothing is written."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aiowandb.export.folders.base import Folder
from aiowandb.export.journal import VERSION, ExportState, decode_record, record_lines
from aiowandb.export.manifest import JOURNAL_COPY, read_whole


class Salvaged(msgspec.Struct, frozen=True):
    """The state that the readable lines of a journal give, and what is wrong with others."""

    state: ExportState
    errors: Sequence[str] = ()
    is_there: bool = True

    @property
    def text(self) -> bytes:
        """The state as the shortest journal."""
        return record_lines(self.state.records())


def salvage_journal(folder: Folder, name: str) -> Salvaged:
    """What the journal says, as far as it can be read."""
    text = folder.read_log(name)
    return salvage_text(text, is_there=bool(text) or folder.size(name) is not None)


def salvage_copy(folder: Folder) -> Salvaged | None:
    """The state as the last complete export left it; None if there is no intact copy."""
    text = read_whole(folder, JOURNAL_COPY)
    found = salvage_text(text) if text is not None else None
    return found if found and not found.errors else None


def salvage_text(text: bytes, *, is_there: bool = True) -> Salvaged:
    """The same of the text of a journal."""
    state, errors = ExportState(), []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            record = decode_record(line)
        except msgspec.MsgspecError as error:
            errors.append(f"line {number} cannot be read ({error})")
        else:
            state.apply(record)
    if state.begun is None:
        errors.append("it does not say what was exported")
    elif state.begun.version != VERSION:
        errors.append(f"it is of version {state.begun.version}, which this aiowandb cannot read")
    return Salvaged(state, errors, is_there)
