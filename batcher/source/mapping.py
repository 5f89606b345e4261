"""Files that translate: an employee number into the target's user, a department into groups."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from batcher.core.errors import InputError
from batcher.files import is_file

_COLUMNS = 2


def read_mapping(path: Path, *, is_single: bool) -> Mapping[str, tuple[str, ...]]:
    """From a CSV with a header and two columns: what the feed says, what the target calls it.

    A value may stand on several lines, unless the mapping `is_single`; with an empty second field it stands for
    nothing.

    Raises:
        InputError: When the file cannot be read, or a line is not of that form.

    """
    table: dict[str, list[str]] = {}
    if not is_file(path):
        raise InputError(f"{path}: cannot be read: no such file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            records = csv.reader(file, delimiter=_delimiter(first), strict=True)
            next(records, None)
            for record in records:
                if not record:
                    continue
                if len(record) != _COLUMNS:
                    raise InputError(
                        f"{path}, line {records.line_num}: {len(record)} fields; a mapping has two columns: what the"
                        " feed says, and what the target calls it"
                    )
                known, meaning = record[0].strip(), record[1].strip()
                targets = table.setdefault(known, [])
                if meaning and meaning not in targets:
                    targets.append(meaning)
                if is_single and len(targets) > 1:
                    raise InputError(f"{path}, line {records.line_num}: {known!r} stands for two users: {targets}")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV in UTF-8: {error}") from None
    return {known: tuple(targets) for known, targets in table.items()}


def _delimiter(header: str) -> str:
    return next((mark for mark in ",;\t" if mark in header), ",")
