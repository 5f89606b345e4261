"""Plays whole runs from random seeds, and checks the laws in each: time is virtual, so a seed always gives one result.

    python tests/simulations.py 5000                             the seeds 0 to 4999 of each kind
    python tests/simulations.py 500 --only hosts --first 20000   500 seeds of one kind, from 20000 on
    python tests/simulations.py 1 --only wire --first 4711 -v    one seed, with its log

The kinds are `seeds` (one run, whatever the target does), `wire` (a peer that speaks in bytes of every kind), `hosts`
(several runs at once on one host), and `months` (two feeds, night after night). A seed that fails prints the command
that plays it again. `people.py` says what people do on a host, `processes.py` what befalls their commands, and
`told.py` what their ledgers tell; `real_hosts.py` does the like without simulating anything.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import hosts
import months
import seeds
import wire

KINDS: dict[str, Callable[..., Any]] = {
    "seeds": seeds.run_seed,
    "wire": wire.run_seed,
    "hosts": hosts.run_seed,
    "months": months.run_seed,
}
_AT_ONCE = 10


def again(kind: str, seed: int) -> str:
    """The command that plays one seed again."""
    return f"python tests/simulations.py 1 --only {kind} --first {seed} -v"


def first_of(error: BaseException) -> BaseException:
    """What was raised first, in a group of errors."""
    return first_of(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def failures(kind: str, first: int, count: int, *, verbose: bool = False, stops: bool = False) -> list[str]:
    """Play some seeds; one line for each that fails. With `stops`, those after the first failure are not played."""
    logging.getLogger("batcher").propagate = verbose
    logging.getLogger("asyncio").disabled = True
    logging.getLogger("batcher").addHandler(logging.NullHandler())
    told = []
    for seed in range(first, first + count):
        try:
            KINDS[kind](seed, verbose=verbose)
        except Exception as error:
            if verbose:
                raise
            found = first_of(error)
            told.append(f"{again(kind, seed)}    # {type(found).__name__}: {str(found)[:300]}")
            if stops:
                break
    return told


def _played(kind: str, options: argparse.Namespace) -> Iterator[str]:
    if options.v:
        yield from failures(kind, options.first, options.count, verbose=True)
        return
    ends = options.first + options.count
    firsts = range(options.first, ends, _AT_ONCE)
    counts = [min(_AT_ONCE, ends - first) for first in firsts]
    play = partial(failures, kind, stops=options.x)
    with ProcessPoolExecutor(options.jobs) as pool:
        for told in pool.map(play, firsts, counts):
            yield from told
            if told and options.x:
                pool.shutdown(wait=False, cancel_futures=True)
                return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("-x", action="store_true", help="stop at the first seed that fails")
    parser.add_argument("-v", action="store_true", help="show what happens; in one process")
    options = parser.parse_args()
    failed = 0
    for kind in [options.only] if options.only else KINDS:
        number = 0
        for line in _played(kind, options):
            number += 1
            print(line, flush=True)
        print(f"{kind}: {options.count} seeds, {number} failed", flush=True)
        failed += number
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
