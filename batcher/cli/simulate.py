"""`batcher simulate`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from batcher.cli.console import guarded, set_up


def simulate(
    port: Annotated[int, typer.Option("--port", help="On 127.0.0.1; 0 chooses one.", min=0, max=65535)] = 8080,
    token: Annotated[str, typer.Option("--token", envvar="BATCHER_SIMULATE_TOKEN", help="The only one accepted.")] = "",
    client_id: Annotated[str, typer.Option("--client-id", help="For MinApp's login.")] = "",
    client_secret: Annotated[
        str, typer.Option("--client-secret", envvar="BATCHER_SIMULATE_SECRET", help="For MinApp's login.")
    ] = "",
    token_uses: Annotated[int, typer.Option("--token-uses", help="A token from the login ends after so many.")] = 0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            help="STATUS, drop-before, drop-after, late, html, cut, truncated or miscounted; with a share of the"
            " requests: 503=0.1.",
            metavar="KIND[=SHARE]",
        ),
    ] = None,
    late_seconds: Annotated[float, typer.Option("--late-seconds", help="When `late` requests are applied.")] = 30.0,
    latency_ms: Annotated[float, typer.Option("--latency-ms", help="Of every reply.")] = 0.0,
    jitter_ms: Annotated[float, typer.Option("--jitter-ms", help="At most so much more.")] = 0.0,
    limit: Annotated[str, typer.Option("--limit", help="Answer 429 beyond this rate: 20/s.", metavar="RATE")] = "none",
    bad_users: Annotated[str, typer.Option("--bad-users", help="Users that do not exist: 7,eve.")] = "",
    bad_groups: Annotated[str, typer.Option("--bad-groups", help="Groups that do not exist.")] = "",
    bad_pairs: Annotated[str, typer.Option("--bad-pairs", help="Pairs that are refused: 5:53,eve:staff.")] = "",
    not_atomic: Annotated[
        bool,
        typer.Option("--not-atomic", help="A refused MinApp request applies what comes before the fault."),
    ] = False,
    refuse_repeats: Annotated[
        bool, typer.Option("--refuse-repeats", help="Adding a member again is an error.")
    ] = False,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Scrutinizer's statements in another order.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the faults.")] = 0,
    journal: Annotated[
        Path | None, typer.Option("--journal", help="Keep the membership in this file.", metavar="FILE")
    ] = None,
    scenario: Annotated[
        Path | None,
        typer.Option("--scenario", help="All of this and more, changing with time, from a TOML file.", metavar="FILE"),
    ] = None,
) -> None:
    """Run a server that speaks the targets' dialects, keeps membership, and misbehaves on request.

    GET /_state tells what it holds and what it was asked. It listens on 127.0.0.1 only.
    """
    set_up(quiet=False)

    def work() -> int:
        from batcher.cli.runner import run_async
        from batcher.core.units import parse_rate
        from batcher.simulator.behaviour import Behaviour, Fault
        from batcher.simulator.scenario import Scenario, read_scenario

        behaviour = Behaviour(
            token=token,
            client_id=client_id,
            client_secret=client_secret,
            token_uses=token_uses,
            faults=tuple(Fault.parse(text) for text in fault or ()),
            late_seconds=late_seconds,
            latency_seconds=latency_ms / 1000,
            jitter_seconds=jitter_ms / 1000,
            limits=(rate,) if (rate := parse_rate(limit)) else (),
            bad_users=frozenset(_names(bad_users)),
            bad_groups=frozenset(_names(bad_groups)),
            bad_pairs=frozenset(_pairs(bad_pairs)),
            is_atomic=not not_atomic,
            refuses_repeats=refuse_repeats,
            shuffles=shuffle,
            seed=seed,
        )
        played = read_scenario(scenario, behaviour) if scenario else Scenario(behaviour)

        async def main() -> int:
            import anyio

            from batcher.simulator.server import serve

            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                if journal is not None and not journal.exists():
                    os.close(os.open(journal, os.O_CREAT | os.O_WRONLY, 0o600))
                async with serve(played.first, port, journal, played.stages) as url:
                    typer.echo(f"simulating minapp and scrutinizer at {url}")
                    async for _ in signals:
                        break
            return 0

        return run_async(main)

    guarded(work)


def _names(text: str) -> list[int | str]:
    return [int(part) if part.lstrip("-").isdecimal() else part for part in text.split(",") if part]


def _pairs(text: str) -> list[tuple[int | str, int | str]]:
    from batcher.core.errors import ConfigurationError

    pairs = []
    for part in text.split(",") if text else ():
        names = [name for piece in part.split(":") for name in _names(piece)]
        if len(names) != 2:  # noqa: PLR2004 — a user and a group
            raise ConfigurationError(f"--bad-pairs {part!r}: write USER:GROUP")
        pairs.append((names[0], names[1]))
    return pairs
