"""The log shipper syslog-ng, which sends lines in batches over HTTP, from C.

    python benchmarks/peers/syslog_ng.py INPUT.csv URL [--rows N] [--durable]

Each line of the input becomes a record, 1000 records a PATCH, 4 workers; nothing is grouped and no results are kept.
With `--durable`, records go through a reliable disk buffer, each written before it is sent, none synced to the disk.
The source waits when the destination is behind (flow-control), so that nothing is dropped. The seconds count from the
start of syslog-ng until the sink says that it has every line: lines are joined by newlines, so a body has one byte
less than its lines in the file.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

BOUND = 300
POLL = 0.01
CONFIGURATION = """\
@version: {version}
options {{ stats-freq(0); keep-hostname(yes); use-dns(no); threaded(yes); }};
source lines {{
  file("{folder}/lines" flags(no-parse) follow-freq(0.01) log-fetch-limit(10000) log-iw-size({window}));
}};
destination sink {{
  http(
    url("{url}") method("PATCH") body("$MSG") headers("Content-Type: text/csv")
    workers(4) batch-lines(1000) batch-timeout(100) log-fifo-size({fifo}) {buffer}
  );
}};
log {{ source(lines); destination(sink); flags(flow-control); }};
"""
DISK_BUFFER = 'disk-buffer(reliable(yes) dir("{folder}") disk-buf-size(2147483648) mem-buf-size(268435456))'


def find() -> str | None:
    return shutil.which("syslog-ng", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))


def configure(binary: str, folder: Path, url: str, *, durable: bool) -> Path:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"^Config version: *(\S+)", said, re.MULTILINE)
    path = folder / "syslog-ng.conf"
    path.write_text(
        CONFIGURATION.format(
            version=version[1] if version else "3.35",
            folder=folder,
            url=url,
            window=100_000,
            fifo=200_000,
            buffer=DISK_BUFFER.format(folder=folder) if durable else "",
        )
    )
    return path


def copy(source: Path, target: Path, rows: int | None) -> tuple[int, int]:
    """The lines without the header: how many they are, and how many bytes."""
    count = size = 0
    with source.open("rb") as lines, target.open("wb") as file:
        next(lines)
        for count, line in enumerate(islice(lines, rows), 1):  # noqa: B007
            size += file.write(line if line.endswith(b"\n") else line + b"\n")
    return count, size


class Sink:
    """What the sink counted since this object was made, in bytes of the file."""

    def __init__(self, url: str) -> None:
        self.connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
        self.before = 0
        self.before = self.got()

    def got(self) -> int:
        self.connection.request("GET", "/")
        said = json.load(self.connection.getresponse())
        return said["bytes"] + said["requests"] - self.before


def wait(process: subprocess.Popen[bytes], sink: Sink, size: int, end: float) -> str | None:
    """Why it went wrong, if so."""
    pause = threading.Event()
    while (got := sink.got()) < size:
        if process.poll() is not None:
            return f"syslog-ng ended with {process.returncode}"
        if time.perf_counter() > end:
            return f"not done after {BOUND} seconds: {got:,} of {size:,} bytes"
        pause.wait(POLL)
    return None if got == size else f"the sink got {got:,} bytes instead of {size:,}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("input", type=Path)
    parser.add_argument("url")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--durable", action="store_true")
    options = parser.parse_args()
    binary = find()
    if not binary:
        print("There is no syslog-ng on this machine.", file=sys.stderr)
        return 69
    with TemporaryDirectory() as name:
        folder = Path(name)
        rows, size = copy(options.input, folder / "lines", options.rows)
        configuration = configure(binary, folder, options.url, durable=options.durable)
        sink = Sink(options.url)
        own = [f"--{option}={folder / option}" for option in ("persist-file", "pidfile", "control")]
        command = [binary, "--foreground", "--no-caps", f"--cfgfile={configuration}", *own]
        with (folder / "said").open("wb") as said:
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=said, stderr=said, cwd=folder)
            try:
                wrong = wait(process, sink, size, start + BOUND)
                seconds = time.perf_counter() - start
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if wrong:
            print(wrong, (folder / "said").read_text(errors="replace")[-2000:], sep="\n", file=sys.stderr)
            return 1
    print(json.dumps({"rows": rows, "seconds": round(seconds, 4)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
