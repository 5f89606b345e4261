"""The behaviour of the simulated target, including its faults."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from batcher.core.errors import ConfigurationError
from batcher.core.rate import Rate

KINDS = ("drop-before", "drop-after", "late", "html", "cut", "truncated", "miscounted")
"""Faults that are not a status: the connection is dropped before or after the changes are applied; they are applied
`late_seconds` after it was dropped; or they are applied and answered with an HTML page, with a reply that breaks off
half-way, with half a reply as if it were complete, or with one statement too few."""


class Insists(Enum):
    """How a target that refuses too many requests says when to retry."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    DATE = "date"
    PAST = "past"
    """A date one hour in the past."""
    NEGATIVE = "negative"
    ABSURD = "absurd"
    """Three years."""
    RESET = "reset"
    """`X-RateLimit-Reset` in UTC seconds instead of `Retry-After`."""
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of this share of the requests: an HTTP status (nothing is applied) or one of `KINDS`."""

    kind: str
    share: float

    @staticmethod
    def parse(text: str) -> Fault:
        """`503=0.1`, `drop-after=0.05`.

        Raises:
            ConfigurationError: When it is neither a status nor a kind, or the share is invalid.

        """
        kind, _, share = text.partition("=")
        try:
            number = float(share or "1")
        except ValueError:
            number = -1.0
        is_status = kind.isdecimal() and 200 <= int(kind) <= 599  # HTTP statuses
        if not (is_status or kind in KINDS) or not 0 <= number <= 1:
            raise ConfigurationError(
                f"invalid --fault {text!r}; expected a status or one of {', '.join(KINDS)}, and a share, e.g. 503=0.1"
            )
        return Fault(kind, number)


@dataclass(frozen=True, slots=True)
class ScimTraits:
    """In which ways a SCIM service differs from what the RFCs say, as real ones do."""

    returns_groups: bool = False
    """Whether a PATCH is answered with 200 and the group, instead of 204."""
    drops_unknown: bool = False
    """Whether users that it does not know are left out in silence, instead of refusing the request."""
    names_the_refused: bool = True
    lists_user_names: bool = False
    """Whether members are listed by the users' names; then removals by id do nothing."""
    lists_twice: bool = False
    """Whether a member that is added again is listed twice."""
    refuses_filters: bool = False
    """Whether removing by a filter is not implemented (501)."""
    takes_arrays: bool = False
    """Whether members can be removed by an array of values."""
    capacity: int = 0
    """The most members of a group; 0 for no limit."""
    write_seconds: float = 0.0
    """How long a group is being written after it was read; another request in that time loses what the first did."""
    says_html: bool = False
    """Whether errors are HTML pages."""
    population: int = 0
    """How many users and how many groups there are; 0: any name exists, and there are a million."""
    page: int = 100
    """The most resources of a page."""
    bulk: int = 0
    """How many operations a bulk request may have; 0 if there are none."""
    forgets_bulk_ids: bool = False
    """Whether results of a bulk request do not repeat the `bulkId`."""
    bulk_errors: int = 0
    """After how many errors the rest of a bulk request is left out; 0 for never."""
    refuses_patch: bool = False
    """Whether it announces that groups cannot be patched."""
    is_silent: bool = False
    """Whether it announces nothing."""
    refuses_more: bool = False
    """Whether a `count` above the page is refused."""
    breaks_on_count: bool = False
    """Whether any `count` is answered with 500."""
    compares_case: bool = False
    """Whether filters compare all attributes with case."""
    breaks_on_name: str = ""
    """A name for which any filter is answered with 500."""
    takes_first_of_or: bool = False
    """Whether of a filter with `or` only the first comparison counts."""
    ignores_filters: bool = False
    """Whether a filter is ignored and everything is returned."""
    finds_nothing: bool = False
    """Whether a filter is answered with 200 and no resources."""
    repeats_first_page: bool = False
    """Whether `startIndex` is ignored."""
    cuts_pages: bool = False
    """Whether a page has half of what it should have."""
    pages_by: Literal["index", "cursor", "both"] = "index"
    """How lists are paged (RFC 9865). Cursors are announced unless it `is_silent`; with "both", they come first."""
    cursor_seconds: float = 0.0
    """How long a cursor is valid; 0 for ever."""
    omits_total: bool = False
    """Whether lists by cursor do not say how many there are."""
    repeats_cursor: bool = False
    """Whether the next cursor is always that of the second page."""
    has_empty_pages: bool = False
    """Whether every other page by cursor is empty."""
    hides_members: bool = False
    """Whether groups never show their members; then users are found by their groups."""
    omits_empty_lists: bool = False
    """Whether an empty group has no list of members at all."""
    nested: int = 0
    """How many groups each group has as members, besides its users."""
    generation: int = 0
    """Each generation gives every name to somebody else."""
    ambiguous: frozenset[str] = frozenset()
    """Names that two resources have."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """All settings of the simulated target; by default it behaves well."""

    token: str = ""
    """The only token that is accepted; empty accepts any."""
    client_id: str = ""
    client_secret: str = ""
    token_uses: int = 0
    """A token from the login is refused after this many requests; 0 for never."""
    faults: tuple[Fault, ...] = ()
    fault_retry_after: float = 0.0
    """Faults that are a status have a `Retry-After` of this many seconds; 0 for none."""
    late_seconds: float = 30.0
    latency_seconds: float = 0.0
    jitter_seconds: float = 0.0
    latency_growth: float = 0.0
    """Additional seconds per reply for each second since the first request."""
    seconds_per_change: float = 0.0
    capacity: int = 0
    """How many requests are served at once, while others queue; 0 for all."""
    most_at_once: int = 0
    """With this many unanswered requests, another one is refused as too much; 0 for no limit."""
    limits: tuple[Rate, ...] = ()
    """Rates; more arrivals in a sliding window are refused as too much."""
    limit_status: int = 429
    """The status for `too much`; with 400 only the text says so."""
    insists: Insists = Insists.DECIMAL
    max_changes: int = 0
    """Requests with more changes are too large; 0 for no limit."""
    max_request_bytes: int = 0
    size_status: int = 413
    """The status for `too large`."""
    poisonous_users: frozenset[int | str] = frozenset()
    """A request that names one of them is answered with 500."""
    is_away: bool = False
    """The target is unreachable: connections are refused (dropped, if a real socket listens)."""
    bad_users: frozenset[int | str] = frozenset()
    bad_groups: frozenset[int | str] = frozenset()
    bad_pairs: frozenset[tuple[int | str, int | str]] = frozenset()
    is_atomic: bool = True
    """Whether a refused MinApp request changes nothing; otherwise what precedes the refused pair is applied."""
    refuses_repeats: bool = False
    """Whether adding an existing member, or removing somebody who is not one, is an error."""
    shuffles: bool = False
    """Whether Scrutinizer's statements come in a different order from the entries."""
    says_names: bool = False
    """Whether Scrutinizer's statements tell users and groups as they were given, and not by their ids."""
    folds_names: bool = False
    """Whether names that differ only in case, Unicode form or surrounding blanks are the same name."""
    scim: ScimTraits = ScimTraits()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Stage:
    """The behaviour after this many seconds or requests, whichever comes first."""

    behaviour: Behaviour
    after_seconds: float = math.inf
    after_requests: float = math.inf
