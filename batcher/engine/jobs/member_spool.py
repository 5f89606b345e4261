"""What was read of groups, in a file: memory does not grow with their members."""

from __future__ import annotations

from typing import IO

import pyarrow as pa

from batcher.core.keys import Key
from batcher.core.reading import Members, Unread


class MemberSpool:
    """Keeps pairs in a temporary file, which must be open as long as it is used."""

    def __init__(self, aside: IO[bytes], user: pa.DataType, group: pa.DataType) -> None:
        """`user` and `group` are the types of users and groups."""
        self.read: list[Key] = []
        self.unread: list[Unread] = []
        self._aside = aside
        self._schema = pa.schema([("user", user), ("group", group)])
        self._writer = pa.ipc.new_stream(aside, self._schema)

    def __repr__(self) -> str:
        return f"<MemberSpool {len(self.read)} groups read, {len(self.unread)} not>"

    async def take(self, one: Members | Unread) -> None:
        """Keep what was read of a group."""
        if isinstance(one, Unread):
            self.unread.append(one)
            return
        self.read.append(one.group)
        users = one.users.cast(self._schema.field("user").type)
        group = pa.array([one.group] * len(users), self._schema.field("group").type)
        self._writer.write_batch(pa.RecordBatch.from_arrays([users, group], schema=self._schema))

    def batches(self) -> pa.RecordBatchReader:
        """Everything that was kept."""
        self._writer.close()
        self._aside.seek(0)
        return pa.ipc.open_stream(self._aside)
