"""What each SCIM service takes in one request, as far as its documentation or its behaviour says.

A figure without a source is our own caution. Everything can be overridden in the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batcher.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Profile:
    """One service. The defaults are cautious, and fit any service that follows RFC 7644."""

    most_added: int = 100
    """Members that one request may add."""
    most_removed: int = 20
    """Members that one request may remove. Some servers look at every member of the group for each of them."""
    max_bytes: int = 256 * 1024
    removes_by_array: bool = False
    """Whether members are removed by an array of values instead of a filter each. RFC 7644 §3.5.2.2 does not have that,
    and some servers empty the whole group."""
    rate: str = "5/s"
    lists_members: bool = True
    """Whether a reply that has a list of members has all of them."""
    lists_by_cursor: bool = False
    """Whether users and groups are listed by cursor (RFC 9865) also if it is not announced."""
    accept: str = "application/scim+json"
    query: Mapping[str, str] = field(default_factory=dict)
    """Parameters of every PATCH."""
    note: str = ""
    """What somebody who uses it must know."""


PROFILES: Mapping[str, Profile] = {
    "rfc": Profile(),
    # AWS IAM Identity Center SCIM developer guide, "PatchGroup" and "Limitations": 100 changes per request; the lists
    # of members in replies are empty; no figure for the rate, 429 with ThrottlingException. "ListUsers": 100 by cursor.
    "aws": Profile(most_added=100, most_removed=100, lists_members=False, lists_by_cursor=True),
    # Microsoft, "Microsoft Entra ID SCIM API reference": up to 20 members per add, one per removal; GET never returns
    # members; `Accept: application/json` is required; lists have cursors only. The rate is Microsoft Graph's for
    # writes, about 3,000 in 150 s.
    "entra": Profile(
        most_added=20,
        most_removed=1,
        rate="10/s",
        lists_members=False,
        lists_by_cursor=True,
        accept="application/json",
    ),
    # Google Cloud Identity, REST reference of `customers.v2.Groups.patch` (v1beta1): one member change per request.
    "google": Profile(most_added=1, most_removed=1),
    # Slack, "Rate limits" of the SCIM API: PATCH of groups 180 a minute and organisation.
    "slack": Profile(rate="150/min", note="Slack's limits are per organisation: other apps share them"),
    # GitHub, "Provisioning users and groups with SCIM using the REST API": at most 1,000 users per group and hour are
    # recommended; users must exist before groups refer to them.
    "github-emu": Profile(rate="10/min", note="GitHub recommends to add at most 1,000 users per group and hour"),
    # IBM Security Verify, "Patching a group": 1,000 operations; users are notified unless notifyType=NONE.
    "ibm-verify": Profile(
        most_added=1000,
        most_removed=1000,
        query={"notifyType": "NONE"},
        note="IBM Verify would mail every user; notifyType=NONE is sent so that it does not (target.query)",
    ),
    # Miro, "Rate limiting" of the SCIM API: 8,000 members or 800,000 bytes; PATCH above 500 bytes 5 in 30 s.
    "miro": Profile(most_added=1000, most_removed=100, rate="9/min"),
    # Zscaler, "SCIM API" limits: 5 requests a second.
    "zscaler": Profile(rate="4/s"),
    # Peakon, developer documentation: 25,000 operations an hour, each operation of a request counted.
    "peakon": Profile(rate="5/s"),
    # Not documented by their vendors: the cautious figures.
    "atlassian": Profile(),
    "snowflake": Profile(),
    # django-scim2 0.23.0 answers 501 to removals by filter (found by running it).
    "django-scim2": Profile(removes_by_array=True),
}


def profile_of(name: str) -> Profile:
    """The profile with this name; `rfc` for none.

    Raises:
        ConfigurationError: When there is none.

    """
    found = PROFILES.get(name or "rfc")
    if found is None:
        raise ConfigurationError(f"unknown target.profile {name!r}; known are {', '.join(sorted(PROFILES))}")
    return found
