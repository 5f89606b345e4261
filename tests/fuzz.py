"""Fuzzing with random bytes: of the readers, and of the interpretation of targets' replies.

    python tests/fuzz.py source -max_total_time=60      with atheris (pip install atheris), guided by coverage
    python tests/fuzz.py replies -max_total_time=60

The tests call the same two functions with a few hundred random inputs, without atheris.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from batcher.core.batch import Batch, Limits
from batcher.core.errors import InputError
from batcher.core.http import Response
from batcher.core.keys import Keys
from batcher.core.model import REJECTED_ROW, Columns, KeyKind, Position
from batcher.core.pack import pack
from batcher.core.status import Status
from batcher.core.verdict import Retry, Settled, Split, Stop
from batcher.source.inputs import Input, Reading
from batcher.source.layout import Fields
from batcher.source.lines import Waits
from batcher.source.reader import read
from batcher.targets import create

SUFFIXES = (".csv", ".jsonl", ".json", "", ".csv.gz", ".jsonl.zst")
HEADERS = (
    b"",
    b"op,user_id,group_id\n",
    b"op,user_name,group_name\n",
    b"op,user,group\n",
    b"op;user_id;user_name;group\n",
)
FOLDER = Path(tempfile.gettempdir())
TARGETS = [create("minapp", "", ""), create("scrutinizer", "https://example.org", "")]
SAID = [b"User 1 added to usergroup 2", b'{"data":{"added":["', b'"],"removed":[]}}', b'{"err":"', b'"error_msg":"']


def source(data: bytes) -> None:
    """Read the bytes as an input in some format: that gives plausible rows or an input error, never another error."""
    if len(data) < 2:
        return
    suffix, header = SUFFIXES[data[0] % len(SUFFIXES)], HEADERS[data[1] % len(HEADERS)]
    path = FOLDER / f"fuzz-{os.getpid()}{suffix}"
    path.write_bytes((header if suffix in {".csv", ""} else b"") + data[2:])
    how = Reading(Fields.of({}, KeyKind.INTEGER if data[0] & 128 else KeyKind.ANY))
    try:
        steps = [step for step in read(0, Input(path.name, path), how, Position()) if not isinstance(step, Waits)]
    except InputError:
        return
    finally:
        path.unlink()
    for columns, _ in steps:
        check_columns(columns)
    assert steps[-1][1].end


def check_columns(columns: Columns) -> None:
    count = len(columns)
    assert len(columns.user) == len(columns.group) == len(columns.line) == len(columns.source) == count
    assert [reject.index for reject in columns.rejects] == np.flatnonzero(columns.action == REJECTED_ROW).tolist()
    assert all(reject.reason for reject in columns.rejects)
    assert (np.diff(columns.line) >= 0).all()
    valid = columns.action != REJECTED_ROW
    for keys in (columns.user, columns.group):
        for key in keys.values(keys.codes[valid]):
            assert (key >= 0) if isinstance(key, int) else key.strip()


def replies(data: bytes) -> None:
    """Take the bytes as the body of a reply: the result is a verdict, and only what the reply names is applied."""
    if len(data) < 3:
        return
    status = (200, 200, 204, 400, 429, 500, 200 + data[0] * 2)[data[0] % 7]
    body = b"".join(SAID[byte % len(SAID)] if byte < 10 else bytes([byte]) for byte in data[3:])
    headers = {"retry-after": data[1:3].decode("latin-1"), "content-type": "application/json"}
    keys = [1, 1, 3] if data[2] & 1 else ["a b", "1", "added to"]
    columns = Columns(
        np.array([0, 1, 0], np.int8), Keys.of(keys), Keys.of([2, 3, 2]), np.arange(3), np.zeros(3, np.int32)
    )
    for target in TARGETS:
        if target.key_kind is KeyKind.INTEGER and isinstance(keys[0], str):
            continue
        (ops,) = pack(columns, np.arange(3), Limits(9, 9, 9, 9, 1 << 20), target.wire)
        batch = Batch(1, 0, ops, columns.user, columns.group)
        verdict = target.interpret(batch, Response(status, headers, body), 0.0)
        assert isinstance(verdict, Settled | Retry | Split | Stop)
        if isinstance(verdict, Settled) and target.name == "scrutinizer":
            applied = int((verdict.statuses == Status.APPLIED).sum())
            assert applied <= body.count(b"ed to ") + body.count(b"ed from ") + body.count(b"\\u")


def main() -> None:
    import atheris  # noqa: PLC0415 — only needed when run as a program

    test = {"source": source, "replies": replies}[sys.argv.pop(1)]
    atheris.Setup(sys.argv, test)
    atheris.instrument_all()
    atheris.Fuzz()


if __name__ == "__main__":
    main()
