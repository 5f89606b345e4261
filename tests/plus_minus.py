"""An input format as others might add it: a line is `+ user group` or `- user group`, with integer ids."""

from __future__ import annotations

from collections.abc import Iterator

from batcher.core.model import Action, Columns
from batcher.core.wholeness import Content
from batcher.source.formats import Format
from batcher.source.inputs import Input, Reading
from batcher.source.lines import Lines, Waits
from batcher.source.records import Rows
from batcher.source.rules import Invalid, id_of, shown

_ACTIONS = {"+": Action.ADD, "-": Action.REMOVE}


class PlusMinusParser:
    takes_whole = False

    def __init__(self, source: int, item: Input, how: Reading, memory: tuple[str, str]) -> None:
        self._source = source
        self._records = 0

    def begin(self, lines: Lines) -> Iterator[Waits]:
        return iter(())

    def parse(self, block: bytes, line: int, *, is_last: bool) -> tuple[Iterator[Columns], int]:
        rows = Rows(self._source)
        for number, text in enumerate(block.decode("utf-8", "replace").splitlines(), line):
            self._records += 1
            try:
                mark, user, group = text.split()
                rows.add(number, _ACTIONS[mark], id_of(user, "user"), id_of(group, "group"))
            except (ValueError, KeyError):
                rows.reject(number, f"{shown(text)} is not of the form: + user group")
            except Invalid as invalid:
                rows.reject(number, str(invalid))
        return iter((rows.columns(),)), len(block)

    def memory(self) -> tuple[str, str]:
        return "", ""

    def describe(self, content: Content, lines: Lines) -> None:
        content.rows = self._records


FORMAT = Format("plus-minus", (".pm",), lambda block, suffix: suffix == ".pm", PlusMinusParser)
