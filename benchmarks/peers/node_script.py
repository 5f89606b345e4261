"""Runs `node.mjs`, which lies beside this file, with the same arguments, if Node is there.

python benchmarks/peers/node_script.py INPUT.csv URL [--rows N]
"""

import shutil
import subprocess
import sys
from pathlib import Path

BOUND = 300


def main() -> int:
    node = shutil.which("node")
    if not node:
        print("There is no node on this machine.", file=sys.stderr)
        return 69
    script = Path(__file__).with_name("node.mjs")
    return subprocess.run([node, script, *sys.argv[1:]], check=False, timeout=BOUND + 5).returncode


if __name__ == "__main__":
    sys.exit(main())
