"""A minimal target on Singer's SDK (package singer-sdk), fed with a file of Singer messages on its standard input.

    python benchmarks/peers/singer_sdk_target.py INPUT.csv URL [--rows N]

Batches of 1000 records, a JSON array each, posted one after another over one connection. Records are not checked
against their schema and the log is set to warnings, for speed. The messages are written before the clock starts; the
seconds are those of the target's process, which is this script again, with `--target` as its first argument.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

BOUND = 300
PROPERTIES = {"op": {"type": "string"}, "user_id": {"type": "integer"}, "group_id": {"type": "integer"}}
STREAM = "changes"


def target(arguments: list[str]) -> None:
    import requests  # noqa: PLC0415 - only the target's process needs them
    from singer_sdk import BatchSink, Target  # noqa: PLC0415
    from singer_sdk import typing as th  # noqa: PLC0415

    class Api(BatchSink):
        max_size = 1000
        session = requests.Session()

        def process_batch(self, context: dict) -> None:
            self.session.post(self.config["url"], json=context["records"], timeout=30).raise_for_status()

    class ApiTarget(Target):
        name = "target-api"
        config_jsonschema = th.PropertiesList(th.Property("url", th.StringType, required=True)).to_dict()
        default_sink_class = Api

    ApiTarget.cli(arguments)


def write(source: Path, messages: Path, rows: int | None) -> int:
    """The schema and the records, as a tap would say them."""
    count = 0
    schema = {"type": "SCHEMA", "stream": STREAM, "schema": {"properties": PROPERTIES}, "key_properties": []}
    with source.open(newline="", encoding="utf-8") as lines, messages.open("w", encoding="utf-8") as file:
        reader = csv.reader(lines)
        next(reader)
        print(json.dumps(schema), file=file)
        for count, (op, user, group) in enumerate(islice(reader, rows), 1):  # noqa: B007
            record = {"op": op, "user_id": int(user), "group_id": int(group)}
            print(json.dumps({"type": "RECORD", "stream": STREAM, "record": record}), file=file)
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("input", type=Path)
    parser.add_argument("url")
    parser.add_argument("--rows", type=int)
    options = parser.parse_args()
    if not (find_spec("singer_sdk") and find_spec("requests")):
        print("singer_sdk_target needs the packages singer-sdk and requests.", file=sys.stderr)
        return 69
    with TemporaryDirectory() as name:
        folder = Path(name)
        messages, configuration = folder / "messages.jsonl", folder / "config.json"
        rows = write(options.input, messages, options.rows)
        configuration.write_text(json.dumps({"url": options.url, "validate_records": False}), encoding="utf-8")
        environment = os.environ | {"LOGLEVEL": "WARNING"}
        command = [sys.executable, __file__, "--target", "--config", str(configuration)]
        with messages.open("rb") as file:
            start = time.perf_counter()
            done = subprocess.run(
                command, stdin=file, env=environment, capture_output=True, text=True, check=False, timeout=BOUND
            )
            seconds = time.perf_counter() - start
    if done.returncode:
        print(f"the target ended with {done.returncode}", done.stderr[-2000:], sep="\n", file=sys.stderr)
        return 1
    print(json.dumps({"rows": rows, "seconds": round(seconds, 4)}))
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--target"]:
        target(sys.argv[2:])
    else:
        sys.exit(main())
