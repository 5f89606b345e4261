"""Inputs with fixed seeds."""

from __future__ import annotations

import random
from pathlib import Path

USERS, GROUPS, REMOVALS = 200_000, 500, 0.1


def random_ids(path: Path, rows: int, seed: int = 1) -> Path:
    """Uniformly random pairs, one removal in ten: hard to pack."""
    dice = random.Random(seed)
    with path.open("w", encoding="ascii") as file:
        file.write("op,user_id,group_id\n")
        for _ in range(rows):
            op = "remove" if dice.random() < REMOVALS else "add"
            file.write(f"{op},{10_000_000 + dice.randrange(USERS)},{1000 + dice.randrange(GROUPS)}\n")
    return path


def profiles(path: Path, rows: int, seed: int = 2) -> Path:
    """Each user has one of 400 profiles of 4 to 12 groups: what an onboarding looks like."""
    dice = random.Random(seed)
    shapes = [dice.sample(range(1000, 1000 + GROUPS), dice.randint(4, 12)) for _ in range(400)]
    with path.open("w", encoding="ascii") as file:
        file.write("op,user_id,group_id\n")
        written, user = 0, 10_000_000
        while written < rows:
            for group in dice.choice(shapes)[: rows - written]:
                file.write(f"add,{user},{group}\n")
                written += 1
            user += 1
    return path
