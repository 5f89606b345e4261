"""MinApp (ifanr 知晓云): `PATCH` of an array of ops, each users × groups.

Documented (seed 000 and the vendor's open API pages): path and body, 204 for success, 400 for bad parameters,
and product-wide 401, 402 (arrears), 403, 404, 405, 500. There is no reply body for success, so a 204 means
success for every change of the request. Not documented: limits, order of ops, atomicity, unknown ids, replies
beyond the rate. So every request holds a pair only once, and any other reply proves nothing.
"""

from __future__ import annotations

from urllib.parse import urlencode

import orjson

from batcher.core.batch import Batch, Limits, Shape
from batcher.core.http import Request, Response, brief
from batcher.core.keys import Key, Keys
from batcher.core.lookups import Place
from batcher.core.model import KeyKind
from batcher.core.ordering import OrderBy
from batcher.core.reading import MembersPage
from batcher.core.replies import parsed, unsuccessful
from batcher.core.status import Status
from batcher.core.target import Credentials, Login
from batcher.core.vectors import Ints
from batcher.core.verdict import Retry, Settled, Verdict
from batcher.core.wire import Wire
from batcher.targets.minapp_login import login
from batcher.targets.minapp_members import users_page

_PATH = "/oserve/v1/miniapp/group/membership/"
_USERS_PATH = "/oserve/v2.2/miniapp/user_profile/"
_GROUPS_PATH = "/oserve/v1/user-group/?limit=1"
_SKELETON = '{"op":"remove","path":"/membership","users":[],"groups":[]},'
_OP_BYTES = len(_SKELETON) - 2
"""Each key is counted with a comma, which the last key of either list does not have."""
_LONG_LIST = 64
"""From this length on, orjson is faster with the array itself than with a list made from it."""


class MinApp:
    """The API of `cloud.minapp.com`."""

    name = "minapp"
    wire = Wire(Shape.PRODUCT, request=2, op=_OP_BYTES, id_key=1, name_key=1)
    # 1000 users: the cap of every other bulk interface of this product. The rest is caution: what one request
    # may hold is not documented, and a request that is refused for one id has to be split.
    limits = Limits(max_users=1000, max_groups=100, max_ops=50, max_changes=5000, max_bytes=256 * 1024)
    meaningless_limits: frozenset[str] = frozenset()
    key_kind = KeyKind.INTEGER
    order = OrderBy.PAIR
    success_is_uniform = True
    status_suffices = False
    default_rate = "50/min"  # the free plan's figure in the vendor's technical notes
    read_by = "users by their `_group`, inferred from the documents of another SDK (target.readable)"
    hints = (
        "MinApp: the users' ids are the `user_id` of the profile (the `id` of the _userprofile table), not the"
        " profile row's own `id`, which looks alike",
    )

    def __init__(self, url: str, env: str) -> None:
        self.url = (url or "https://cloud.minapp.com").rstrip("/")
        self._env = env
        self.can_be_read = False

    def encode(self, batch: Batch, token: str) -> Request:
        """A JSON array of ops."""
        body = [
            {
                "op": op.action.label,
                "path": "/membership",
                "users": _ids(batch.user, op.users),
                "groups": _ids(batch.group, op.groups),
            }
            for op in batch.ops
        ]
        # orjson reads arrays only when they are contiguous; slices with a step are copied by tolist() above.
        data = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY, default=lambda array: array.tolist())
        return Request("PATCH", self.url + _PATH, self._headers(token), data)

    def interpret(self, batch: Batch, response: Response, now: float) -> Verdict:
        """204 settles everything; anything else settles nothing."""
        if response.status == 204:  # the documented success
            return Settled.all(len(batch), Status.APPLIED)
        if 200 <= response.status < 300:
            return Retry(f"undocumented reply {response.status}: {response.text()}")
        return unsuccessful(response, _said(response), now)

    def probe(self, token: str) -> Request:
        """List one group."""
        return Request("GET", self.url + _GROUPS_PATH, self._headers(token))

    def interpret_probe(self, response: Response, now: float) -> Verdict:
        """200 with a list of objects."""
        if response.status == 200:
            return Settled.all(0, Status.APPLIED)
        return unsuccessful(response, _said(response), now)

    @property
    def no_group(self) -> Key | None:
        """See `OffersReading`: each user is listed with its groups."""
        return None

    @property
    def members_begin(self) -> Place | None:
        """See `OffersReading`: pages by offset, which serve as cursors."""
        return ""

    def members(self, group: Key, place: Place, count: int, token: str) -> Request:
        """See `OffersReading`: the users whose `_group` has this one."""
        offset = str(place - 1) if isinstance(place, int) else place or "0"
        asked = {"where": orjson.dumps({"_group": {"$in": [group]}}).decode(), "offset": offset}
        asked |= {"limit": str(count)} if count else {}
        query = urlencode(asked | {"return_total_count": "1"})
        return Request("GET", f"{self.url}{_USERS_PATH}?{query}", self._headers(token))

    def members_page(self, group: Key, response: Response, now: float) -> MembersPage | Verdict:
        """See `OffersReading`."""
        if response.status != 200:
            return unsuccessful(response, _said(response), now)
        return users_page(group, response)

    def believe_documents(self) -> None:
        """See `InfersReading`."""
        self.can_be_read = True

    def login(self, credentials: Credentials, now: float) -> Login | None:
        """The authorize–code–token flow."""
        if not credentials.client_id or not credentials.client_secret:
            return None
        return login(self.url, credentials, now)

    def _headers(self, token: str) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        if self._env:
            headers["X-Hydrogen-Env-ID"] = self._env
        return headers


def _ids(keys: Keys, codes: Ints) -> Ints | list[int]:
    """The ids themselves. Names never get here; if one did, sending its code would change another user's rights."""
    if keys.dictionary is not None:
        msg = "MinApp takes integer ids only"
        raise TypeError(msg)
    return codes if len(codes) > _LONG_LIST else codes.tolist()


def _said(response: Response) -> str:
    """The web API's error text (`error_msg`, else `message`), otherwise the beginning of the body."""
    content = parsed(response.body)
    if isinstance(content, dict):
        for name in ("error_msg", "message", "err_msg"):
            if isinstance(content.get(name), str):
                return brief(content[name])
    return response.text()
