"""What Scrutinizer's sentences prove: one per entry, successes and errors mixed, in an order that is not documented."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from batcher.core.http import brief
from batcher.core.keys import Key
from batcher.core.model import Action
from batcher.core.status import Status

_SUCCESS = {
    Action.ADD: re.compile(r"User (.+) added to usergroup (.+)"),
    Action.REMOVE: re.compile(r"User (.+) removed from usergroup (.+)"),
}
_REFUSAL = re.compile(
    r"\b(no (such|user|group|usergroup|permission|access|account|member|license|entry)|not|cannot|\w+n['’]t|unable"
    r"|fail\w*|errors?|invalid|illegal|unknown|unexpected|unsupported|denied|refused|rejected|forbidden"
    r"|unauthori[sz]ed|missing|required?|needs?|must|already|duplicates?|exists?|lock\w*|disabled|inactive|expired"
    r"|exceed\w*|limit\w*|may only|too (many|long|large|short))\b",
    re.IGNORECASE,
)
"""Words that are typical of error texts; this is a guess, since none of them is documented."""
VERBS = {Action.ADD: "added to", Action.REMOVE: "removed from"}


@dataclass(frozen=True, slots=True)
class _Outcome:
    status: Status
    detail: str = ""


_APPLIED = _Outcome(Status.APPLIED)


def match(action: Action, entries: Sequence[tuple[Key, Key]], sentences: Sequence[object]) -> list[_Outcome | None]:
    """One outcome per entry; None if the sentences do not show it.

    Neither the order of sentences nor the text of errors is documented. So a sentence proves something only if no other
    entry could claim it: names that differ only in case, or a name beside a number that may be its id, are proven only
    by successes for all of them. The remaining sentences, at the remaining places, are refusals of those entries.
    """
    whole = len(entries) == len(sentences)
    if whole and all(_is_success(action, entry, said) for entry, said in zip(entries, sentences, strict=True)):
        return [_APPLIED] * len(entries)
    if len(entries) == 1:
        return [_read(action, entries[0], sentences[0]) if whole else None]
    found: list[_Outcome | None] = [None] * len(entries)
    said_so = Counter(said.casefold() for said in sentences if isinstance(said, str))
    holders: dict[str, list[int]] = {}
    for index, entry in enumerate(entries):
        holders.setdefault(_sentence(action, entry), []).append(index)
    proven = set()
    for text, places in holders.items():
        if said_so[text] == len(places) and not _has_rivals(action, text, entries, places):
            proven.add(text)
            for place in places:
                found[place] = _APPLIED
    left = [index for index, said in enumerate(sentences) if not (isinstance(said, str) and said.casefold() in proven)]
    open_places = [index for index, outcome in enumerate(found) if outcome is None]
    if whole and (left == open_places or len(left) == 1):
        told = [_read(action, entries[place], sentences[index]) for place, index in zip(open_places, left, strict=True)]
        if all(outcome is not None and outcome.status is Status.FAILED for outcome in told):
            for place, outcome in zip(open_places, told, strict=True):
                found[place] = outcome
    return found


def _sentence(action: Action, entry: tuple[Key, Key]) -> str:
    """The documented success sentence for the entry as it was sent, case-folded for comparison."""
    return f"User {entry[0]} {VERBS[action]} usergroup {entry[1]}".casefold()


def _has_rivals(action: Action, text: str, entries: Sequence[tuple[Key, Key]], places: Sequence[int]) -> bool:
    """Whether a success may also belong to another entry whose name is reported by its id, which we cannot know."""
    match = re.fullmatch(_SUCCESS[action].pattern.casefold(), text)
    if match is None or not any(named.isdecimal() for named in match.groups()):
        return False
    own = set(places)
    return any(
        index not in own and all(_agrees(key, named) for key, named in zip(entry, match.groups(), strict=True))
        for index, entry in enumerate(entries)
    )


def _is_success(action: Action, entry: tuple[Key, Key], said: object) -> bool:
    """Whether a sentence says that the entry was applied, with names given literally or by some id."""
    if not isinstance(said, str):
        return False
    if said.casefold() == _sentence(action, entry):
        return True
    match = _SUCCESS[action].fullmatch(said)
    return match is not None and all(_agrees(key, named) for key, named in zip(entry, match.groups(), strict=True))


def _read(action: Action, entry: tuple[Key, Key], said: object) -> _Outcome | None:
    """What a sentence says about the entry; None if it is about another entry, or may be.

    A sentence that is recognised neither as a success nor as a refusal, perhaps in another language, proves neither.
    """
    if not isinstance(said, str):
        return None
    if _is_success(action, entry, said):
        return _APPLIED
    has_blanks = any(isinstance(key, str) and len(key.split()) > 1 for key in entry)
    about_another = any(
        found is not None and (has_blanks or all(len(named.split()) == 1 for named in found.groups()))
        for found in (pattern.fullmatch(said) for pattern in _SUCCESS.values())
    )
    if about_another:
        return None
    if _REFUSAL.search(said):
        return _Outcome(Status.FAILED, brief(said))
    return _Outcome(Status.UNKNOWN, f"neither a success nor a refusal that can be read: {brief(said) or 'nothing'}")


def _agrees(key: Key, named: str) -> bool:
    """Whether a success may report this key as `named`: ids literally; names literally, or by an id we cannot know."""
    if isinstance(key, int):
        return named == str(key)
    return named.isdecimal() or named.casefold() == key.casefold()
