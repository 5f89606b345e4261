"""The `batcher` program, also as `python -m batcher`.

What is imported takes a moment. Who interrupts it then gets an end and no traceback: nothing has begun. That stays so
until a command begins (`cli.console.guarded`), or the parser of its arguments would answer with a code of its own.
"""

from __future__ import annotations

import os
import signal

_INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    from batcher import streams  # noqa: PLC0415 — light, and to be the first

    streams.open_all()
    # An interrupt that is ignored when the program starts stays so.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    from batcher import cli  # noqa: PLC0415 — see above

    cli.prepare()
    cli.main()


if __name__ == "__main__":
    main()
