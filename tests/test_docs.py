"""The README, the guides and the example configuration: commands are run, and statements compared with the code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import forked
import msgspec
import pytest
from shell import Shell, state_of

from batcher.core.guardrails import Guardrail
from batcher.core.target import Target
from batcher.core.verdict import Cause
from batcher.load.latencies import Summary
from batcher.load.measurement import Generator, Measurement
from batcher.settings import Settings
from batcher.targets.minapp import MinApp
from batcher.targets.scim_profiles import PROFILES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", README, re.DOTALL)
TRY, TESTS, MINAPP, SCRUTINIZER, SCIM, AFTER, NIGHTLY, REHEARSE, RESUME = [
    text for kind, text in BLOCKS if kind == "bash"
]
(LIBRARY,) = [text for kind, text in BLOCKS if kind == "python"]


@pytest.fixture
def bash(tmp_path, monkeypatch):
    """Runs a block unchanged, with `batcher` on the path and sample files in the folder."""
    shell = Shell(tmp_path)
    (tmp_path / "bin").mkdir()
    forked.write_program(tmp_path / "bin" / "batcher")
    (tmp_path / "examples").mkdir()
    sample = (ROOT / "examples" / "changes.csv").read_bytes()
    (tmp_path / "examples" / "changes.csv").write_bytes(sample)
    shell.write("changes.csv", sample)
    shell.write("people.jsonl", '{"op":"add","user":"eve","group":"staff"}\n')

    def run(text, **environment):
        known = shell.environment(**environment)
        known["PATH"] = f"{tmp_path / 'bin'}:{known['PATH']}"
        return subprocess.run(
            ["bash", "-ec", text], cwd=tmp_path, env=known, capture_output=True, timeout=120, check=False
        )

    run.shell = shell
    return run


def test_the_first_command_ends_with_a_summary_a_ledger_and_results(bash):
    """CI runs the block unchanged; here it is run without the installation."""
    assert TRY.startswith("python3.11 -m venv .venv && .venv/bin/pip install --quiet . && ")
    result = bash(TRY.split(" && ", 2)[2].replace(".venv/bin/batcher", "batcher"))
    assert result.returncode == 0, result.stderr
    assert b"7 changes: 6 applied \xc2\xb7 1 superseded" in result.stdout
    assert b"op,user,group,status" in result.stdout
    assert (bash.shell.folder / "first.ledger").exists()


def test_ci_runs_both_commands_as_they_stand():
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert TRY.strip() in text
    assert TESTS.strip() in text


def test_who_contributes_is_told_of_what_there_is():
    """The files, settings and commands that CONTRIBUTING.md and the decisions name exist."""
    texts = [ROOT / "CONTRIBUTING.md", *(ROOT / "docs" / "decisions").glob("*.md")]
    for text in texts:
        for name in re.findall(
            r"`((?:batcher|tests|docs|tools|core|source|cli|report|ledger|load|benchmarks)/[\w./]+)`",
            text.read_text("utf-8"),
        ):
            assert (ROOT / name).exists() or (ROOT / "batcher" / name).exists(), (text, name)
        for name in re.findall(r"\]\(([\w./]+)\)", text.read_text("utf-8")):
            assert (text.parent / name).exists(), (text, name)


def test_every_dependency_earns_its_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    told = (ROOT / "docs" / "decisions" / "0007-dependencies.md").read_text("utf-8")
    for name in project["dependencies"]:
        assert f"| {re.match(r'[a-z-]+', name)[0]} |" in told, name


def test_real_use_against_each_api(bash):
    """The blocks are run unchanged, except that the addresses are those of the simulator."""
    with bash.shell.simulator("--token", "your-token") as url:
        minapp = bash(MINAPP, BATCHER_URL=url)
        assert minapp.returncode == 0, minapp.stderr
        scrutinizer = bash(SCRUTINIZER.replace("https://scrutinizer.example.org", url))
        assert scrutinizer.returncode == 0, scrutinizer.stderr
        bash.shell.write("names.csv", "op,user_name,group_name\nadd,alice,Sales\n")
        scim = bash(SCIM.replace("https://directory.example.org", url))
        assert scim.returncode == 0, scim.stderr


def test_the_guide_to_scim(bash):
    """The blocks are run in order; those that ask for a service of one's own find the simulator."""
    text = (ROOT / "docs" / "scim.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    bash.shell.write("token", "your-token\n")
    with bash.shell.simulator("--token", "your-token") as url:
        for block in blocks:
            result = bash(block.replace("https://directory.example.org", url))
            assert result.returncode == 0, (block, result.stderr)
        assert len(state_of(url)["groups"]) == 1


def test_the_guide_to_proof(bash):
    text = (ROOT / "docs" / "proof.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    first, *others = map(bash, blocks)
    assert {first.returncode, *(other.returncode for other in others)} == {0}, (first, others)
    assert b"all 2 changes were read back; all of them are so" in first.stdout
    assert (bash.shell.folder / "differences.csv").exists()


def test_the_table_of_profiles_is_that_of_the_code():
    text = (ROOT / "docs" / "scim.md").read_text(encoding="utf-8")
    for name, profile in PROFILES.items():
        (row,) = [line for line in text.splitlines() if f"`{name}`" in line.split(" | ")[0] and "| " in line] or [
            next(line for line in text.splitlines() if line.startswith("| (none) |"))
        ]
        figures = [cell.strip() for cell in row.split("|")[2:5]]
        assert figures == [str(profile.most_added), str(profile.most_removed), profile.rate], name


def test_afterwards_and_resuming(bash):
    assert bash("batcher apply changes.csv --simulate --ledger run.ledger").returncode == 0
    for block in (AFTER, RESUME):
        result = bash(block)
        assert result.returncode == 0, result.stderr


def test_every_night(bash):
    bash.shell.write("feed.csv", "user_id,group_id\n5,53\n6,53\n")
    with bash.shell.simulator() as url:
        target = {"BATCHER_TARGET": "minapp", "BATCHER_URL": url, "BATCHER_TOKEN": "t"}
        result = bash(NIGHTLY, **target)
        assert result.returncode == 0, result.stderr
        assert state_of(url)["groups"] == {"53": [5, 6]}


def test_the_guide_from_an_export_to_a_scheduled_job(bash):
    """The blocks are run in order, with the simulator's address; what schedules the job is run, too."""
    text = (ROOT / "docs" / "nightly.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["bash"] * 4 + ["crontab", "ini", "ini", "bash", "bash", "bash"]
    here = str(bash.shell.folder)
    with bash.shell.simulator("--token", "your-token") as url:
        everybody = {"53": [5], "54": [5], "55": [6], "60": [5], "99": [5, 6]}
        states = [{}, {}, everybody, everybody, everybody, everybody, everybody, everybody]
        states += [{"53": [5], "54": [5], "60": [5], "99": [5]}, everybody]
        for (kind, block), expected in zip(blocks, states, strict=True):
            if kind == "crontab":
                schedule, command = block.strip().split("  ", 2)[0], block.strip().split("  ", 1)[1]
                assert len(schedule.split()) == 5
            elif kind == "ini":
                command = "".join(re.findall(r"^ExecStart=/usr/local/bin/(.*)$", block, re.MULTILINE))
            else:
                command = block
            result = bash(command.replace("/srv/hr", here), BATCHER_URL=url)
            assert result.returncode == 0, (block, result.stderr)
            assert state_of(url)["groups"] == expected, block
            if "--override" in block:
                assert (
                    b"would be refused: shrink: the feed names 4 pairs, the last accepted one named 6" in result.stdout
                )
    assert "batcher_last_success_timestamp_seconds" in (bash.shell.folder / "batcher.prom").read_text("utf-8")


def test_the_guide_and_the_guardrails_name_each_other():
    text = (ROOT / "docs" / "nightly.md").read_text(encoding="utf-8")
    assert all(f"`{guardrail}`" in text for guardrail in Guardrail)
    keys = set(re.findall(r"`(max_\w+|empty_feed|protected_\w+|\w+_judged_from)`", text))
    assert keys <= set(Settings().guard.__struct_fields__)


def test_rehearse_measure_look(bash):
    result = bash(REHEARSE.replace("--duration 5s", "--duration 1s"))
    assert result.returncode == 0, result.stderr
    assert (bash.shell.folder / "load.json.html").exists()


def test_the_guide_to_load_runs(bash):
    """The blocks are run in order, with shorter runs and the simulator's address."""
    text = (ROOT / "docs" / "load.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 6
    bash.shell.write("short.toml", "[retry]\ngrace_seconds = 0.2\n")  # requests of the previous run may still arrive
    with bash.shell.simulator("--token", "your-token") as url:
        for block in blocks:
            short = re.sub(r"--duration 3s|for 4s|for 2s", lambda found: f"{found[0].split()[0]} 1s", block)
            result = bash(short.replace("https://test.example.org", url), BATCHER_CONFIG="short.toml")
            assert result.returncode == 0, (block, result.stderr)
    assert b"5 applied, 1 superseded, 1 failed; at most 2 in flight" in result.stdout
    assert (bash.shell.folder / "own.hlog").exists()


def test_the_guide_names_every_key_of_the_json():
    text = (ROOT / "docs" / "load.md").read_text(encoding="utf-8")
    described = text.split("## The JSON")[1].split("## Reports")[0]
    for kind in (Measurement, Generator, Summary):
        for name in kind.__struct_fields__:
            assert f"`{name}`" in described, name


def test_the_dashboard_shows_what_there_is(bash):
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text("utf-8"))
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\bbatcher_[a-z_]+", target["expr"])
    }
    assert bash("batcher apply changes.csv --simulate --metrics-file batcher.prom").returncode == 0
    known = set(re.findall(r"^(batcher_\w+)", bash.shell.read("batcher.prom").decode(), re.MULTILINE))
    outlets = ROOT / "batcher" / "cli" / "outlets"
    served = "".join((outlets / name).read_text("utf-8") for name in ("metrics.py", "metrics_port.py"))
    known |= set(re.findall(r'"(batcher_\w+)"', served))
    suffixes = ("", "_total", "_bucket")
    assert all(any(name.removesuffix(suffix) in known for suffix in suffixes) for name in asked), asked - known


def as_program(bash, code):
    """Run the code that the docs show to library users, against a simulator."""
    with bash.shell.simulator() as url:
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=bash.shell.folder,
            env=bash.shell.environment(MINAPP_URL=url, BATCHER_TOKEN="t"),
            capture_output=True,
            timeout=60,
            check=False,
        )


def test_the_library_example(bash):
    result = as_program(bash, LIBRARY)
    assert result.returncode == 0, result.stderr
    assert result.stdout.decode().splitlines()[:3] == ["5 applied", "6 applied", "7 applied"]
    assert "0 3 <changes>" not in result.stdout.decode()


def test_the_guide_for_library_users(bash):
    text = (ROOT / "docs" / "library.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    result = as_program(bash, example)
    assert (result.returncode, result.stdout) == (0, b"0 100\n"), result.stderr


def test_the_scenario_of_the_guarantees_can_be_played(bash):
    """The server starts, answers a request, and is ended."""
    text = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
    block = re.search(r"```bash\n(cat > trouble.toml.*?)```", text, re.DOTALL).group(1)
    assert bash(block[: block.index("batcher simulate")]).returncode == 0
    command = block.strip().splitlines()[-1].split()
    command[command.index("8099")] = "0"
    with bash.shell.simulator(*command[4:]) as url:
        assert state_of(url)["requests"] == 0


def test_the_commands_of_the_test_tools():
    """Seeds and worlds can also be run by hand."""
    for command, said in (
        (["tests/simulations.py", "2"], "months: 2 seeds, 0 failed"),
        (["tests/worlds.py", "402-first"], "6 quota"),
    ):
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout.decode()


def test_links_lead_somewhere():
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_exit_code_and_command_is_in_the_readme(bash):
    listed = set(re.findall(r"^\| ([\d, ]+) \|", README, re.MULTILINE))
    codes = {int(code) for entry in listed for code in entry.split(",")}
    assert {cause.exit_code for cause in Cause} | {0, 1, 2, 3, 5, 7, 8} == codes
    named = set(re.findall(r"\n  (\w+)  +\S", bash.shell.run("--help").stdout.decode()))
    assert {"apply", "resume", "simulate"} <= named
    assert all(f"batcher {name}" in README for name in named)


def test_the_example_configuration_shows_every_key_with_its_default():
    """Uncommented, it is equal to the defaults of the code."""
    text = (ROOT / "config.example.toml").read_text(encoding="utf-8")
    shown = tomllib.loads(re.sub(r"^# (?=[a-z_]+ = )", "", text, flags=re.MULTILINE))
    defaults = msgspec.to_builtins(Settings())
    defaults["limits"] = {name: getattr(MinApp.limits, name) for name in MinApp.limits.__dataclass_fields__}
    defaults["limits"]["max_removals"] = MinApp.limits.max_changes  # the same number as of changes
    defaults["guard"] |= {"max_removals": 1000, "max_additions": 1000}  # what has no default shows an example
    assert shown == defaults
    assert Settings.load(ROOT / "config.example.toml") == Settings()
    for name in ("TARGET", "URL", "RATE", "LEDGER", "MAX_IN_FLIGHT", "MAX_FAILURES", "DEADLINE", "MAX_WAIT", "CONFIG"):
        assert f"BATCHER_{name}" in text


def test_the_program_runs_without_the_environment_of_the_tests():
    assert "BATCHER_TOKEN" not in os.environ


def test_who_adds_a_target_is_told_of_all_that_it_needs():
    told = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("## A target")[1].split("## A format")[0]
    members = {*Target.__annotations__, *(name for name in vars(Target) if not name.startswith("_"))}
    assert {name for name in members if f"`{name}`" not in told} == set()
    assert members >= {"encode", "interpret", "wire"}


def test_the_workflow_runs_ci_for_the_pythons_that_are_promised():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert f"python: {json.dumps(promised)}" in text
    assert "bash .ci/run" in text
