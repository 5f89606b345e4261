"""Inputs with fixed seeds: the same rows on every machine with the same numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

USERS, GROUPS, REMOVALS = 200_000, 500, 0.1
PROFILES, FEWEST, MOST = 400, 4, 12
FIRST_USER, FIRST_GROUP = 10_000_000, 1000
NOISE = 0.05


def random_ids(path: Path, rows: int) -> Path:
    """Uniformly random pairs, one removal in ten: hard to pack."""
    rng = np.random.default_rng(1)
    op = np.where(rng.random(rows) < REMOVALS, "remove", "add")
    user, group = FIRST_USER + rng.integers(0, USERS, rows), FIRST_GROUP + rng.integers(0, GROUPS, rows)
    return _write(path, {"op": op, "user_id": user, "group_id": group})


def profiles(path: Path, rows: int) -> Path:
    """Each user has one of 400 profiles of 4 to 12 groups: what an onboarding looks like. Ids have 8 digits."""
    return _profiles(path, rows, FIRST_USER, 0.0)


def short_profiles(path: Path, rows: int) -> Path:
    """The same with users' ids from 1 on."""
    return _profiles(path, rows, 1, 0.0)


def noisy_profiles(path: Path, rows: int) -> Path:
    """As `short_profiles`, but one pair in twenty is missing or goes to some other group."""
    return _profiles(path, rows, 1, NOISE)


def names(path: Path, rows: int) -> Path:
    """Random pairs, by names instead of ids."""
    rng = np.random.default_rng(3)
    users = pa.array([f"user.{number}@example.org" for number in range(USERS)])
    groups = pa.array([f"Department {number}" for number in range(GROUPS)])
    op = np.where(rng.random(rows) < REMOVALS, "remove", "add")
    user, group = (
        users.take(pa.array(rng.integers(0, USERS, rows))),
        groups.take(pa.array(rng.integers(0, GROUPS, rows))),
    )
    return _write(path, {"op": op, "user_name": user, "group_name": group})


def uuids(path: Path, rows: int) -> Path:
    """Pairs of UUIDs (RFC 9562): every user once, in random groups."""
    user, group = _uuids(rows)
    return _write(path, {"op": np.full(rows, "add"), "user_name": user, "group_name": group})


def scim_ids(path: Path, rows: int) -> Path:
    """The same pairs as ids of a SCIM service."""
    user, group = _uuids(rows)
    return _write(path, {"op": np.full(rows, "add"), "user_id": user, "group_id": group})


def uuids_jsonl(path: Path, rows: int) -> Path:
    """The same as JSON Lines."""
    path = path.with_suffix(".jsonl")
    with path.open("w", encoding="ascii") as file:
        pairs = zip(*(column.to_pylist() for column in _uuids(rows)), strict=True)
        file.writelines(f'{{"op":"add","user_name":"{u}","group_name":"{g}"}}\n' for u, g in pairs)
    return path


def _uuids(rows: int) -> tuple[pa.StringArray, pa.StringArray]:
    rng = np.random.default_rng(4)
    digits = rng.bytes(16 * (rows + GROUPS)).hex()
    texts = [digits[place : place + 32] for place in range(0, len(digits), 32)]
    known = pa.array([f"{t[:8]}-{t[8:12]}-4{t[13:16]}-a{t[17:20]}-{t[20:]}" for t in texts])
    return known[:rows], known[rows:].take(pa.array(rng.integers(0, GROUPS, rows)))


def jsonl(path: Path, rows: int) -> Path:
    """What `profiles` writes, as JSON Lines."""
    path = path.with_suffix(".jsonl")
    user, group = _pairs(rows, FIRST_USER, 0.0)
    with path.open("w", encoding="ascii") as file:
        pairs = zip(user.tolist(), group.tolist(), strict=True)
        file.writelines(f'{{"op":"add","user_id":{u},"group_id":{g}}}\n' for u, g in pairs)
    return path


def _profiles(path: Path, rows: int, first_user: int, noise: float) -> Path:
    user, group = _pairs(rows, first_user, noise)
    return _write(path, {"op": np.full(rows, "add"), "user_id": user, "group_id": group})


def _pairs(rows: int, first_user: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    shapes = [rng.choice(GROUPS, rng.integers(FEWEST, MOST + 1), replace=False) for _ in range(PROFILES)]
    size = np.array([len(shape) for shape in shapes])
    table = np.zeros((PROFILES, MOST), np.int64)
    for number, shape in enumerate(shapes):
        table[number, : len(shape)] = shape
    kind = rng.integers(0, PROFILES, rows // FEWEST + 1)
    user = np.repeat(np.arange(len(kind)), size[kind])
    place = np.arange(len(user)) - np.repeat(np.cumsum(size[kind]) - size[kind], size[kind])
    group = table[kind[user], place]
    if noise:
        luck = rng.random(len(user))
        group = np.where(luck < noise / 2, rng.integers(0, GROUPS, len(user)), group)
        kept = luck < 1 - noise / 2
        user, group = user[kept], group[kept]
    return first_user + user[:rows], FIRST_GROUP + group[:rows]


def _write(path: Path, columns: dict[str, object]) -> Path:
    path = path.with_suffix(".csv")
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file:
        file.write(",".join(columns).encode() + b"\n")
        pyarrow.csv.write_csv(pa.table(columns), file, options)
    return path
