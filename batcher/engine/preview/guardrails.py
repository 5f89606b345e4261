"""Applies the guardrails: finds what they judge, raises an error if they refuse, and records what was overridden."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from batcher.core.errors import ConfigurationError, GuardrailError
from batcher.core.guardrails import Changes, Guardrail, Ruling, judge_changes, override
from batcher.core.wholeness import judge_content
from batcher.engine.preview.input_scan import InputScan
from batcher.sections import GuardSettings


@dataclass(frozen=True, slots=True)
class Override:
    """Guardrails that are overridden for this run, and the reason."""

    guardrails: frozenset[Guardrail] = frozenset()
    reason: str = ""

    @staticmethod
    def of(names: Iterable[str], reason: str) -> Override:
        """The override that a command line asks for.

        Raises:
            ConfigurationError: When there is no such guardrail, or no reason is given.

        """
        names = list(names)
        known = [str(guardrail) for guardrail in Guardrail]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigurationError(f"unknown --override {unknown[0]!r}; expected one of {', '.join(known)}")
        if names and not reason.strip():
            raise ConfigurationError("--override needs --reason TEXT, which is recorded in the ledger")
        return Override(frozenset(map(Guardrail, names)), reason)


NOTHING_OVERRIDDEN = Override()


def looks_first(guard: GuardSettings) -> bool:
    """Whether the guardrails for a file of changes need a pass over it before anything is sent."""
    is_bounded = guard.max_removals is not None or guard.max_additions is not None
    is_counted = bool(guard.trailer or guard.expect_rows)
    return is_bounded or is_counted or bool(guard.protected_users or guard.protected_groups)


def judge(seen: InputScan, guard: GuardSettings) -> list[Ruling]:
    """The rulings on what is to be sent, whatever it comes from."""
    changes = judge_changes(Changes(seen.adds, seen.removals, seen.protected), guard.bounds())
    return [*judge_content(seen.contents, guard.demands(is_feed=False)), *changes]


def enforce(rulings: Sequence[Ruling], given: Override) -> list[Ruling]:
    """The rulings, with the override applied.

    Raises:
        GuardrailError: When one refuses that is not overridden.

    """
    rulings = override(rulings, given.guardrails)
    shutdown = [ruling for ruling in rulings if ruling.stops]
    if shutdown:
        told = "; ".join(f"{ruling.guardrail}: {ruling.figures}" for ruling in shutdown)
        names = ",".join(dict.fromkeys(ruling.guardrail for ruling in shutdown))
        raise GuardrailError(
            f"{told}; nothing was sent. If this is intended, for this one run: --override {names} --reason TEXT"
        )
    return rulings


def on_record(rulings: Sequence[Ruling], given: Override) -> Mapping[str, str]:
    """The rulings and the reason of an override, as facts for a ledger."""
    return {"guardrails": orjson.dumps(told(rulings)).decode()} | ({"reason": given.reason} if given.reason else {})


def told(rulings: Sequence[Ruling]) -> list[dict[str, object]]:
    """The rulings as plans and ledgers hold them."""
    return [
        {"guardrail": str(r.guardrail), "refuses": r.refuses, "overridden": r.overridden, "figures": r.figures}
        for r in rulings
    ]
