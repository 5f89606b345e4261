"""Who is in a group at MinApp: its users are found by a query.

Documented (open API, `GET /oserve/v2.2/miniapp/user_profile/`): `where`, `limit` up to 1,000, `offset`, and
`return_total_count`; a reply has `meta` (`next`, `total_count`) and `objects`. Documented for another SDK only: the
field `_group` in a query, with the operator `in`. So it is inferred, and not believed unless `target.readable` says so.
"""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import msgspec
import pyarrow as pa

from batcher.core.http import Response
from batcher.core.keys import Key
from batcher.core.reading import MembersPage
from batcher.core.verdict import Retry, Split, Verdict


class _MinAppUser(msgspec.Struct):
    id: int
    user_id: int | None = None
    groups: list[int] | None = msgspec.field(default=None, name="_group")

    @property
    def user(self) -> int:
        """The user's id: a profile's own `id` looks alike."""
        return self.id if self.user_id is None else self.user_id


class _Meta(msgspec.Struct):
    next: str | None
    total_count: int | None = None


class _Page(msgspec.Struct):
    meta: _Meta
    objects: list[_MinAppUser]


def users_page(group: Key, response: Response) -> MembersPage | Verdict:
    """What a reply lists."""
    if response.is_cut:
        return Split("a page of members is too large to be read")
    try:
        page = msgspec.json.decode(response.body, type=_Page)
    except msgspec.MsgspecError as error:
        return Retry(f"the reply is not a list of users: {error}")
    if any(user.groups is not None and group not in user.groups for user in page.objects):
        return Retry(f"the reply lists users who are not in the group {group}")
    offset = parse_qs(urlsplit(page.meta.next).query).get("offset", [""])[0] if page.meta.next else ""
    if page.meta.next and not offset:
        return Retry("the reply does not say where the next page begins")
    users = pa.array([user.user for user in page.objects], pa.int64())
    return MembersPage(users, len(users), page.meta.total_count, offset)
