"""`batcher simulate`."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli.console import guarded, set_up
from batcher.cli.option_types import FILE

if TYPE_CHECKING:
    from batcher.simulator.behaviour import Behaviour


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, help="Port on 127.0.0.1; 0 chooses a free one.")
@click.option(
    "--token", envvar="BATCHER_SIMULATE_TOKEN", default="", help="The only token to accept; default: accept any."
)
@click.option("--client-id", default="", help="For MinApp's login.")
@click.option("--client-secret", envvar="BATCHER_SIMULATE_SECRET", default="", help="For MinApp's login.")
@click.option(
    "--token-uses", type=int, default=0, help="Requests after which a token from the login expires; 0 for never."
)
@click.option(
    "--fault",
    multiple=True,
    metavar="KIND[=SHARE]",
    help="Inject a fault: STATUS, drop-before, drop-after, late, html, cut, truncated or miscounted; for a share of the"
    " requests: 503=0.1.",
)
@click.option("--late-seconds", type=float, default=30.0, help="Delay after which `late` requests are applied.")
@click.option("--latency-ms", type=float, default=0.0, help="Latency of every reply.")
@click.option("--jitter-ms", type=float, default=0.0, help="Maximum random latency on top of that.")
@click.option("--limit", default="none", metavar="RATE", help="Answer 429 beyond this rate: 20/s.")
@click.option("--bad-users", default="", help="Users that do not exist: 7,eve.")
@click.option("--bad-groups", default="", help="Groups that do not exist.")
@click.option("--bad-pairs", default="", help="Pairs to refuse: 5:53,eve:staff.")
@click.option("--not-atomic", is_flag=True, help="Apply the part of a refused MinApp request before its fault.")
@click.option("--refuse-repeats", is_flag=True, help="Treat adding a member again as an error.")
@click.option("--fold-names", is_flag=True, help="Treat names that differ only in case or Unicode form as the same.")
@click.option("--shuffle", is_flag=True, help="Return Scrutinizer's statements in another order.")
@click.option("--seed", type=int, default=0, help="Random seed of the faults.")
@click.option("--journal", type=FILE, metavar="FILE", help="Keep the membership in this file.")
@click.option("--scenario", type=FILE, metavar="FILE", help="TOML file with all of this and more, changing over time.")
def simulate(port: int, journal: Path | None, scenario: Path | None, **given: Any) -> None:  # noqa: ANN401 — as click has them
    """Run a local server that imitates the targets.

    It keeps memberships, and misbehaves as the options say. GET /_state returns the memberships and what was requested.
    It listens on 127.0.0.1 only.
    """
    set_up(quiet=False)

    def work() -> int:
        from batcher.cli.runs.runner import run_async
        from batcher.simulator.scenario import Scenario, read_scenario

        behaviour = _behaviour(given)
        played = read_scenario(scenario, behaviour) if scenario else Scenario(behaviour)

        async def main() -> int:
            import anyio

            from batcher.simulator.server import serve

            ending = (signal.SIGINT, signal.SIGTERM)
            heard = [number for number in ending if signal.getsignal(number) is not signal.SIG_IGN]
            with anyio.open_signal_receiver(*heard) as signals:
                async with serve(played.first, port, journal, played.stages) as url:
                    click.echo(f"simulating minapp, scrutinizer and scim at {url}")
                    async for _ in signals:
                        break
            return 0

        return run_async(main)

    guarded(work)


def _behaviour(given: Mapping[str, Any]) -> Behaviour:
    """What the options ask for."""
    from batcher.core.units import parse_rate
    from batcher.simulator.behaviour import Behaviour, Fault

    return Behaviour(
        token=given["token"],
        client_id=given["client_id"],
        client_secret=given["client_secret"],
        token_uses=given["token_uses"],
        faults=tuple(Fault.parse(text) for text in given["fault"]),
        late_seconds=given["late_seconds"],
        latency_seconds=given["latency_ms"] / 1000,
        jitter_seconds=given["jitter_ms"] / 1000,
        limits=(rate,) if (rate := parse_rate(given["limit"])) else (),
        bad_users=frozenset(_names(given["bad_users"])),
        bad_groups=frozenset(_names(given["bad_groups"])),
        bad_pairs=frozenset(_pairs(given["bad_pairs"])),
        is_atomic=not given["not_atomic"],
        refuses_repeats=given["refuse_repeats"],
        shuffles=given["shuffle"],
        folds_names=given["fold_names"],
        seed=given["seed"],
    )


def _names(text: str) -> list[int | str]:
    return [_name(part) for part in text.split(",") if part]


def _name(text: str) -> int | str:
    try:
        return int(text) if text.lstrip("-").isdecimal() else text
    except ValueError:  # `--5`, or more digits than an id can have
        return text


def _pairs(text: str) -> list[tuple[int | str, int | str]]:
    from batcher.core.errors import ConfigurationError

    pairs = []
    for part in text.split(",") if text else ():
        names = [name for piece in part.split(":") for name in _names(piece)]
        if len(names) != 2:  # noqa: PLR2004 — a user and a group
            raise ConfigurationError(f"invalid --bad-pairs {part!r}; expected USER:GROUP")
        pairs.append((names[0], names[1]))
    return pairs
