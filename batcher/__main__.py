"""The `batcher` program, also as `python -m batcher`.

The imports take a moment. An interrupt in that time ends the process without a traceback, as nothing has begun. The
same handler stays until a command begins (`cli.console.guarded`): click's parser would exit with a code of its own.
"""

from __future__ import annotations

import os
import signal

_INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    from batcher import streams  # noqa: PLC0415 — light, and must come first

    streams.open_all()
    # An interrupt that was ignored when the program started stays ignored.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    from batcher import cli  # noqa: PLC0415 — see above

    cli.prepare()
    cli.main()


if __name__ == "__main__":
    main()
