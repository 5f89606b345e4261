"""Mutation tests: puts small faults into the code, one at a time, and lists those that no test notices.

    python tools/mutants.py [--number 60] [--seed 1] [--jobs 2] [--only core/schedule.py]

The faults are typical mistakes: a bound off by one, `<` for `<=`, `and` for `or`, a missing negation, a sum for a
difference. They are drawn evenly from the modules below, the same ones for the same seed. Each is put into a copy of
the package, and the tests for its folder are run until one fails. Faults that no test notices are listed. Some of them
change nothing that could be noticed; `KNOWN` lists these with the reasons.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parent.parent
LAWS = (
    "tests/engine/test_laws.py",
    "tests/engine/test_neighbours.py",
    "tests/engine/test_interrupted.py",
    "tests/test_simulations.py",
)
ROOMS = {
    "core": (
        (
            "blame",
            "coalesce",
            "cover",
            "guardrails",
            "in_doubt",
            "lessons",
            "ordering",
            "pack",
            "quarantine",
            "rate",
            "schedule",
            "size_learner",
            "sorting",
            "split",
        ),
        ("tests/core", *LAWS, "tests/delivery"),
    ),
    "delivery": (
        ("attempts", "deliverer", "probe", "request_gate", "resolution", "token_provider"),
        ("tests/delivery", *LAWS),
    ),
    "engine/run": (
        ("admission", "budget", "committer", "intake", "outcome_handler", "pool", "pipeline", "watchdog"),
        (*LAWS, "tests/engine", "tests/delivery"),
    ),
    "engine/jobs": (("in_doubt", "resume", "retry"), (*LAWS, "tests/engine")),
    "ledger": (("writer", "reader", "verify", "results", "transaction"), ("tests/ledger", *LAWS, "tests/engine")),
    "state": (("difference", "folding", "inverse", "pairs", "spelling"), ("tests/state", "tests/engine")),
}
"""The modules of each folder, and the tests for it, beginning with those that are most likely to fail."""
KNOWN = {
    "delivery/probe.py: self._answered_at < asked: Lt for LtE": "of two that ask at the same moment either may",
    "core/guardrails.py: 0: one more": "the defaults of bounds are never used: the settings have their own",
    "core/schedule.py: False: the other": "whether it is a trial is only asked where there is a batch, which says so",
    "core/cover.py: 0: one more": "what is assigned to no place may have any length",
    "state/difference.py: 0: one more": "an aggregate without groups always has a row",
    "core/cover.py: mixed <= product.sum(): LtE for Lt": "of two covers with equally many requests, either is fine",
    "core/in_doubt.py: losses.until > latest: Gt for GtE": "of two equal moments, either is the latest",
    "core/rate.py: 1000: one more": "the number of buckets per window affects precision, not correctness",
    "engine/run/committer.py: 0: one more": "the number of a retry is set before it is used",
}
"""Faults that cannot be noticed, as they are listed but without their line, and why."""
_COMPARED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_COUNTED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}
_SECONDS = 600
F, T = TypeVar("F"), TypeVar("T")
RUNNING: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True)
class Fault:
    """A fault at the `number`th possible place of a module; `text` is the module's code with that fault."""

    module: str
    number: int
    line: int
    what: str
    text: str

    @property
    def name(self) -> str:
        """A name that does not depend on the line."""
        return f"{self.module}: {self.what}"

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.what}"


class _Changing(ast.NodeTransformer):
    """Changes the place with this number, counted in the order of the visit; with None it only lists the places."""

    def __init__(self, number: int | None) -> None:
        self.number = number
        self.met: list[tuple[int, str]] = []

    def _is_it(self, node: ast.AST, told: str) -> bool:
        self.met.append((getattr(node, "lineno", 0), told))
        return len(self.met) - 1 == self.number

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        returns, node.returns = node.returns, None  # an annotation is no code
        changed = node if node.name == "__repr__" else self.generic_visit(node)
        node.returns = returns
        return changed

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = [self.visit(item) for item in node.body]  # decorators affect speed or safety, not correctness
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        return node if node.arg == "strict" else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return node  # messages are tested elsewhere

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        other = _COMPARED.get(type(node.ops[0]))
        if other and self._is_it(node, f"{ast.unparse(node)}: {type(node.ops[0]).__name__} for {other.__name__}"):
            node.ops[0] = other()
        return self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        if self._is_it(node, f"{ast.unparse(node)}: and for or"):
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if isinstance(node.op, ast.Not) and self._is_it(node, f"{ast.unparse(node)}: no negation"):
            return self.generic_visit(node.operand)
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        other = _COUNTED.get(type(node.op))
        is_text = any(
            isinstance(side, ast.Constant) and isinstance(side.value, str) for side in (node.left, node.right)
        )
        if other and not is_text and self._is_it(node, f"{ast.unparse(node)}: {other.__name__}"):
            node.op = other()
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool) and self._is_it(node, f"{node.value}: the other"):
            return ast.Constant(not node.value)
        if type(node.value) is int and self._is_it(node, f"{node.value}: one more"):
            return ast.Constant(node.value + 1)
        return node


def faults(module: str) -> list[Fault]:
    """All possible faults in a module, except in annotations."""
    text = (ROOT / "batcher" / module).read_text(encoding="utf-8")
    counting = _Changing(None)
    counting.visit(ast.parse(text))
    found = []
    for number, (line, what) in enumerate(counting.met):
        tree = _Changing(number).visit(ast.parse(text))
        changed = ast.unparse(ast.fix_missing_locations(tree))
        found.append(Fault(module, number, line, what, changed))
    return found


def drawn(number: int, seed: int, only: str) -> Iterator[Fault]:
    """So many random faults, taken from the modules in turn."""
    rng = random.Random(seed)
    modules = [f"{room}/{name}.py" for room, (names, _) in ROOMS.items() for name in names]
    pools = {module: faults(module) for module in modules if module.startswith(only or "")}
    for pool in pools.values():
        rng.shuffle(pool)
    while number and any(pools.values()):
        for pool in pools.values():
            if pool and number:
                number -= 1
                yield pool.pop()


def survives(fault: Fault) -> bool:
    """Whether no test for its folder notices it."""
    with copied() as place:
        (place / "batcher" / fault.module).write_text(fault.text, encoding="utf-8")
        tests = ROOMS[fault.module.rpartition("/")[0]][1]
        command = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--numprocesses=0", *tests]
        try:
            return run(command, place, _SECONDS)[0] == 0
        except subprocess.TimeoutExpired:
            return False


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of what the tests need, to put faults into."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        place = Path(folder)
        for name in ("batcher", "tests", "docs", "examples"):
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "config.example.toml"):
            shutil.copyfile(ROOT / name, place / name)
        yield place


def run(command: Sequence[str], place: Path, seconds: float) -> tuple[int, str]:
    """Run Python in a copy; returns the exit code and what it printed.

    Raises:
        subprocess.TimeoutExpired: When it takes longer; it is ended with everything that it has started.

    """
    environment = os.environ | {"PYTHONPATH": str(place), "TMPDIR": str(place)}
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        RUNNING.add(process)
        try:
            told, _ = process.communicate(timeout=seconds)
            return process.returncode, told
        finally:
            RUNNING.discard(process)
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process with everything that it has started: a fault may cause an endless loop."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def tried(work: Callable[[F], T], faults: Sequence[F], jobs: int) -> Iterator[tuple[F, T]]:
    """Each fault with what the work says of it, in order; if that is interrupted, everything that was started ends."""
    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield from zip(faults, pool.map(work, faults), strict=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(RUNNING):
                end(process)
            raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 if all faults are noticed or known, 1 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", metavar="MODULE")
    options = parser.parse_args(arguments)
    chosen = list(drawn(options.number, options.seed, options.only))
    unnoticed = 0
    for fault, alive in tried(survives, chosen, options.jobs):
        if alive:
            why = KNOWN.get(fault.name)
            unnoticed += why is None
            print(f"survives  {fault}" + (f" ({why})" if why else ""), flush=True)
    print(f"{len(chosen)} faults, {unnoticed} of them not noticed by any test")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
