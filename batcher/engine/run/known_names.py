"""Names whose ids were looked up before, without asking the target for any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from batcher.core.lookups import Attribute, FoundIds, OffersLookups, Side, compared
from batcher.core.patterns import Patterns
from batcher.host.name_cache import NameCache


class KnownNames:
    """The names of users, or of groups, of one target, as far as they were looked up before. Blocking."""

    def __init__(self, side: Side, target: OffersLookups, cache: NameCache) -> None:
        self._side = side
        self._attribute = target.attribute(side)
        self._key = f"{side.value}.{self._attribute.name}"
        self._cache = cache

    def __repr__(self) -> str:
        return f"<KnownNames of {self._key}>"

    def ids(self, names: Sequence[str]) -> FoundIds:
        """The ids of these names, without asking the target."""
        forms = {name: compared(name, self._attribute) for name in names}
        ids = self._cache.known(self._key, list(set(forms.values())))
        missing = [name for name, form in forms.items() if form not in ids]
        what = (
            f"is not among the {self._side.value}s that were looked up lately; `batcher plan --resolve` asks the target"
        )
        return FoundIds(
            {name: ids[form] for name, form in forms.items() if form in ids},
            {name: f"{self._attribute.name} {name!r} {what}" for name in missing},
        )

    def matching(self, patterns: Sequence[str]) -> set[str]:
        """The ids of the names that match any of these patterns."""
        return matching(patterns, self._attribute, self._cache.all_kept(self._key))


def matching(patterns: Sequence[str], attribute: Attribute, known: Iterable[tuple[str, str]]) -> set[str]:
    """The ids of those of the known names, in compared form, that match any of the patterns, or look as if they did."""
    wanted = Patterns([compared(pattern, attribute) for pattern in patterns], folds=True)
    ids: dict[str, list[str]] = {}
    for name, found in known:
        ids.setdefault(name, []).append(found)
    return {found for name in wanted.among(ids) for found in ids[str(name)]}
