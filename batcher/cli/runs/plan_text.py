"""What a plan says, for people."""

from __future__ import annotations

from typing import Any

from batcher.core.units import spoken

_SHOWN_PAIRS = 5
_SHOWN_GROUPS = 10


def told(content: dict[str, Any]) -> list[str]:
    """Lines for standard output."""
    changes = content["changes"]
    lines = [
        f"{changes['total']:,} changes: {changes['add']:,} add, {changes['remove']:,} remove,"
        f" {changes['rejected']:,} rejected; {changes['superseded']:,} superseded, {changes['to_send']:,} to send",
        f"{content['requests']:,} requests to {content['target']} at {content['rate']}:"
        f" at least {spoken(content['seconds'])}",
    ]
    rejected = changes["rejected"]
    if "feed" in content:
        lines += _told_difference(content)
        rejected = content["feed"]["rejected"]
    elif content["largest_groups"]:
        largest = ", ".join(f"{item['group']} ({item['changes']:,})" for item in content["largest_groups"])
        lines.append(f"largest groups: {largest}")
    lines += [f"rejected: {r['source']}, line {r['line']}: {r['reason']}" for r in content["rejects"]]
    if rejected > len(content["rejects"]):
        lines.append(f"… and {rejected - len(content['rejects']):,} more rejected lines")
    lines += _told_inputs(content)
    lines += [
        f"{'overridden' if r['overridden'] else 'passes'}: {r['guardrail']}: {r['figures']}"
        for r in content["guardrails"]
        if r["overridden"] or not r["refuses"]
    ]
    lines += [f"would be refused: {why}" for why in content["refused_by"]]
    if "prediction" in content:
        lines += _told_prediction(content["prediction"])
    return [*lines, "nothing was sent"]


def _told_inputs(content: dict[str, Any]) -> list[str]:
    """What was found in the files that their names do not show."""
    lines = []
    for file in content["inputs_read"]:
        found = [f"sheet {file['sheet']!r}"] if file["sheet"] else []
        found += [f"dates in {column}" for column in file["dates"]]
        lines += [f"{file['name']}: {', '.join(found)}"] if found else []
    held = content.get("held", {})
    lines += [f"held: {what}" for what in held.get("sample", ())]
    if held.get("removals"):
        lines.append(f"held: {held['removals']:,} removals, because invalid lines do not show whose they are")
    return lines


def _told_prediction(found: dict[str, Any]) -> list[str]:
    statuses = ", ".join(f"{count:,} × {status}" for status, count in found["statuses"].items())
    waited = ", ".join(f"{name.replace('_', '-')} {value:,.1f} s" for name, value in found["waited"].items() if value)
    changes = ", ".join(f"{count:,} {name}" for name, count in found["changes"].items() if count and name != "total")
    return [
        f"against {found['scenario']}: {found['requests']:,} requests ({statuses}) in {spoken(found['seconds'])},"
        f" exit {found['exit_code']}",
        f"  {changes}; at most {found['highest_in_flight']} in flight; waited for {waited or 'nothing'}",
        *([f"  the run would stop: {found['stopped']}"] if found["stopped"] else []),
    ]


def told_drift(drift: dict[str, Any]) -> list[str]:
    """What was read at the target, and what others have changed there."""
    lines = []
    if drift["groups_read"] or drift["unread"]:
        lines.append(f"the target: {drift['groups_read']:,} groups were read with {drift['requests']:,} requests")
    groups = drift["groups"]
    if groups:
        shown = [f"{one['group']} (+{one['gained']:,} -{one['lost']:,})" for one in groups[:_SHOWN_GROUPS]]
        more = drift["groups_changed"] - len(shown)
        shown += [f"{more:,} more groups"] if more else []
        lines.append(f"others have changed since: +{drift['gained']:,} -{drift['lost']:,}: {', '.join(shown)}")
    lines += [f"unread: group {one['group']}: {one['reason']}" for one in drift["unread"][:_SHOWN_GROUPS]]
    more = drift["groups_unread"] + drift["groups_silent"] - _SHOWN_GROUPS
    if more > 0:
        lines.append(f"unread: {more:,} more groups")
    return lines


def _told_difference(content: dict[str, Any]) -> list[str]:
    feed = content["feed"]
    before = f" (last good feed: {feed['last_pairs']:,})" if feed["last_pairs"] else ""
    lines = [f"the feed: {feed['lines']:,} lines, {feed['rejected']:,} rejected, {feed['pairs']:,} pairs{before}"]
    lines += told_drift(content["drift"])
    width = max((len(str(item["group"])) for item in content["groups"][:_SHOWN_GROUPS]), default=0)
    shown = content["groups"][:_SHOWN_GROUPS]
    lines += [f"  {item['group']!s:<{width}}  +{item['add']:,} -{item['remove']:,}" for item in shown]
    if len(content["groups"]) > len(shown):
        lines.append(f"  … and {len(content['groups']) - len(shown):,} more groups")
    for word, mark in (("add", "+"), ("remove", "-")):
        pairs = content["sample"][word]
        lines += [f"  {mark} {user} in {group}" for user, group in pairs[:_SHOWN_PAIRS]]
        if changes_more := content["changes"][word] - len(pairs[:_SHOWN_PAIRS]):
            lines.append(f"  {mark} … and {changes_more:,} more")
    return lines
