"""The nightly job as cron runs it: commands, exit codes, what is left behind, and what a kill leaves."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from shell import state_of, wait

from batcher.core.status import Status
from batcher.state.store import Known, StateStore

FEED = "user,group\n" + "".join(f"{user},{group}\n" for user in range(1, 31) for group in (10, 11))
MORE = FEED + "99,10\n"


@pytest.fixture
def synced(shell):
    """A state after its first night."""
    shell.write("feed.csv", FEED)
    first = shell.run(
        "sync", "feed.csv", "--state", "s", "--simulate", "--bootstrap", "--from-nothing", "--ledger", "n1.ledger"
    )
    assert first.returncode == 0, first.stderr
    return shell


def journal(shell):
    return (shell.folder / "s.simulation").read_text(encoding="utf-8")


def test_the_first_night_must_be_asked_for(shell):
    shell.write("feed.csv", FEED)
    for arguments, said in (
        (("--state", "s"), b"there is no such state; create it with the first run: --bootstrap"),
        (("--state", "s", "--bootstrap"), b"--current SNAPSHOT, --current-from-target and --from-nothing"),
        (("--state", "s", "--from-nothing"), b"needs --bootstrap"),
        ((), b"nothing to compare"),
    ):
        result = shell.run("sync", "feed.csv", "--simulate", *arguments)
        assert (result.returncode, said in result.stderr) == (2, True), result.stderr
    assert [path.name for path in shell.folder.iterdir()] in (
        ["feed.csv"],
        ["feed.csv", "s.lock"],
        ["s.lock", "feed.csv"],
    )


def test_nights_one_after_the_other(synced):
    quiet = synced.run("sync", "feed.csv", "--state", "s", "--simulate", "--ledger", "n2.ledger", "--json")
    told = json.loads(quiet.stdout)
    assert (quiet.returncode, told["changes"]["total"], told["requests"]["sent"]) == (0, 0, 0)
    assert told["feed"] == {"lines": 60, "rejected": 0, "pairs": 60}
    synced.write("feed.csv", MORE)
    assert synced.run("sync", "feed.csv", "--state", "s", "--simulate", "--ledger", "n3.ledger").returncode == 0
    assert "[true,[99],[10]]" in journal(synced)
    again = synced.run("sync", "feed.csv", "--state", "s", "--simulate", "--ledger", "n3.ledger")
    assert again.returncode == 2
    assert b"batcher resume n3.ledger" in again.stderr


def test_a_dangerous_feed_changes_nothing_and_says_why(synced):
    before = journal(synced)
    half = FEED.index("\n", len(FEED) // 2) + 1
    for feed in ("", "user,group\n", FEED[: half - 2], FEED[:half]):
        synced.write("feed.csv", feed)
        result = synced.run("sync", "feed.csv", "--state", "s", "--simulate", "--ledger", "n2.ledger")
        assert result.returncode == 5
        assert b"nothing was sent. If this is intended, for this one run: --override" in result.stderr
    assert journal(synced) == before
    assert not [*synced.folder.glob("n2*")]
    for arguments in (("--override", "shrink"), ("--override", "nonsense", "--reason", "x")):
        assert synced.run("sync", "feed.csv", "--state", "s", "--simulate", *arguments).returncode == 2
    names = "shrink,removal-share,group-share"
    result = synced.run(
        "sync", "feed.csv", "--state", "s", "--simulate", "--override", names, "--reason", "a reorganisation",
        "--max-rejected-share", "10%",
    )  # fmt: skip
    assert result.returncode in {0, 3}
    assert journal(synced) != before


def test_a_plan_binds(synced):
    synced.write("feed.csv", MORE)
    planned = synced.run(
        "plan", "feed.csv", "--state", "s", "--simulate", "-o", "plan.json", "--detailed-exitcode", "--json"
    )
    told = json.loads(planned.stdout)
    assert planned.returncode == 8
    assert told["changes"]["to_send"] == 1
    assert told["groups"] == [{"group": 10, "add": 1, "remove": 0}]
    assert told["sample"] == {"add": [[99, 10]], "remove": []}
    assert len(told["guardrails"]) == 6
    assert told == json.loads((synced.folder / "plan.json").read_bytes())
    text = synced.run("plan", "feed.csv", "--state", "s", "--simulate").stdout.decode()
    assert "+ 99 in 10" in text
    assert "passes: shrink: the feed names 61 pairs, the last accepted one named 60" in text

    def bound(*arguments):
        return synced.run("sync", "feed.csv", "--state", "s", "--simulate", "--plan", "plan.json", *arguments)

    assert b"the settings are different" in bound("--order", "removals-first").stderr
    synced.write("feed.csv", MORE + "98,10\n")
    assert b"feed.csv was changed" in bound().stderr
    synced.write("feed.csv", MORE)
    assert bound().returncode == 0
    after = bound("--ledger", "other.ledger")
    assert after.returncode == 5
    assert b"the state has changed" in after.stderr
    assert synced.run("plan", "feed.csv", "--state", "s", "--simulate", "--detailed-exitcode").returncode == 0


def test_a_plan_of_changes_binds(shell):
    shell.write("c.csv", "op,user,group\nadd,1,2\nremove,3,4\n")
    assert shell.run("plan", "c.csv", "--simulate", "-o", "p.json").returncode == 0
    assert (
        b"is a plan for batcher apply"
        in shell.run("sync", "c.csv", "--simulate", "--current", "c.csv", "--plan", "p.json").stderr
    )
    shell.write("c.csv", "op,user,group\nadd,1,2\nremove,3,5\n")
    changed = shell.run("apply", "--plan", "p.json", "--simulate")
    assert changed.returncode == 5
    assert b"c.csv was changed; nothing was sent; run `batcher plan` again" in changed.stderr
    shell.write("c.csv", "op,user,group\nadd,1,2\nremove,3,4\n")
    assert shell.run("apply", "--plan", "p.json", "--simulate", "--ordered").returncode == 5
    assert shell.run("apply", "--plan", "p.json", "--simulate", "--ledger", "x.ledger").returncode == 0
    for content in ("{", '{"version": 99}', "[]"):
        shell.write("p.json", content)
        assert shell.run("apply", "--plan", "p.json", "--simulate").returncode == 2
    assert shell.run("plan", "-", "--simulate", "-o", "p.json").returncode == 2


def test_guardrails_of_changes(shell):
    shell.write("c.csv", "op,user,group\nadd,1,2\nremove,3,4\n")
    for arguments in (("--max-additions", "0"), ("--protect-user", "3"), ("--protect-group", "[24]")):
        assert shell.run("apply", "c.csv", "--simulate", *arguments).returncode == 5
        assert shell.run("plan", "c.csv", "--simulate", *arguments).returncode == 5
    names = ("--override", "additions", "--override", "protected", "--reason", "it is agreed")
    done = shell.run("apply", "c.csv", "--simulate", "--max-additions", "0", "--protect-user", "3", *names)
    assert done.returncode == 0
    shell.write("c.csv", "op,user,group\n")
    assert shell.run("apply", "c.csv", "--simulate", "--max-additions", "0", "--ledger", "q").returncode == 0


def test_undo(synced):
    synced.write("feed.csv", MORE)
    assert synced.run("sync", "feed.csv", "--state", "s", "--simulate", "--ledger", "n2.ledger").returncode == 0
    compiled = synced.run("undo", "n2.ledger", "--simulate", "--json")
    told = json.loads(compiled.stdout)["undo"]
    assert (told["pairs"], told["add"], told["remove"], told["left_out"]) == (1, 0, 1, {})
    assert "had been members before, which the target did not report" in told["cannot_know"][0]
    assert compiled.stderr.decode().strip().splitlines()[-1] == "batcher apply --plan n2.ledger.undo.json"
    undone = synced.run("apply", "--plan", "n2.ledger.undo.json", "--simulate", "--ledger", "u.ledger")
    assert undone.returncode == 0, undone.stderr
    assert journal(synced).splitlines()[-1] == "[false,[99],[10]]"
    again = synced.run("undo", "n2.ledger", "--simulate")
    assert b"left out: 1 pairs: it was changed since" in again.stdout
    assert (synced.folder / "n2.ledger.undo.json.left-out.csv").read_text("utf-8") == (
        "user,group,reason\n99,10,it was changed since\n"
    )
    refused = synced.run("undo", "n1.ledger", "--simulate")
    assert b"would be refused: removal-share: 60 of 60 current memberships would be removed" in refused.stdout
    assert synced.run("apply", "--plan", "n1.ledger.undo.json", "--simulate").returncode == 5
    # The feed has not changed: the next night asks for it again.
    assert synced.run("sync", "feed.csv", "--state", "s", "--simulate", "--ledger", "n4.ledger").returncode == 0
    assert journal(synced).splitlines()[-1] == "[true,[99],[10]]"


def test_undo_of_changes_without_a_state(shell):
    shell.write("a.csv", "op,user,group\nadd,1,2\nremove,3,4\nadd,5,6\nadd,7,8\n")
    shell.write("b.csv", "op,user,group\nremove,5,6\n")
    with shell.simulator("--bad-users", "7") as url:
        target = {"BATCHER_TARGET": "minapp", "BATCHER_URL": url, "BATCHER_TOKEN": "t", "BATCHER_RATE": "none"}
        assert shell.run("apply", "a.csv", "--ledger", "a.ledger", **target).returncode == 3
        assert shell.run("apply", "b.csv", "--ledger", "b.ledger", **target).returncode == 0
        compiled = shell.run("undo", "a.ledger", **target)
        assert b"left out: 1 pairs: it was changed since" in compiled.stdout
        shell.run("apply", "--plan", "a.ledger.undo.json", "--ledger", "u.ledger", **target)
        assert state_of(url)["groups"] == {"4": [3]}
        (shell.folder / "b.ledger").unlink()
        assert b"b.ledger is gone" in shell.run("undo", "a.ledger", **target).stdout
        # Somebody else works on the same ones after the plan was made.
        assert shell.run("undo", "a.ledger", "-o", "late.json", **target).returncode == 0
        assert shell.run("apply", "b.csv", "--ledger", "c.ledger", **target).returncode == 0
        late = shell.run("apply", "--plan", "late.json", "--ledger", "v.ledger", **target)
        assert late.returncode == 5
        assert b"the state has changed" in late.stderr
        # By names: whether they are the same ones cannot be known.
        scrutinizer = target | {"BATCHER_TARGET": "scrutinizer"}
        shell.write("ids.csv", "op,user_id,group_id\nadd,910,87\n")
        shell.write("names.csv", "op,user_name,group_name\nadd,zoe,87\n")
        assert shell.run("apply", "ids.csv", "--ledger", "ids.ledger", **scrutinizer).returncode == 0
        assert shell.run("apply", "names.csv", "--ledger", "names.ledger", **scrutinizer).returncode == 0
        compiled = shell.run("undo", "ids.ledger", **scrutinizer)
        assert b"names.ledger changed the same pairs: one of the two runs uses ids, the other names" in compiled.stdout
        removals = (shell.folder / "ids.ledger.undo.json.removals.csv").read_text("utf-8")
        assert removals == "op,user_id,group_id\nremove,910,87\n"
        other = shell.run("undo", "a.ledger", **(target | {"BATCHER_URL": "http://127.0.0.1:1"}))
        assert other.returncode == 2
        assert b"a.ledger is for minapp at" in other.stderr


def test_what_an_unattended_job_leaves_behind(synced):
    job = (
        "--log-file",
        "job.log",
        "--metrics-file",
        "job.prom",
        "--run-after",
        "cat > said; echo $BATCHER_TOKEN >> said",
    )
    synced.write("feed.csv", MORE + "x,10\n")
    good = synced.run(
        "sync", "feed.csv", "--state", "s", "--simulate", "--ledger", "n2.ledger", "--max-rejected-share", "5%", *job,
        BATCHER_TOKEN="very-secret",
    )  # fmt: skip
    assert good.returncode == 3
    said = (synced.folder / "said").read_text("utf-8").splitlines()
    assert json.loads(said[0])["exit_code"] == 3
    assert said[1] == ""
    events = [json.loads(line) for line in (synced.folder / "job.log").read_text("utf-8").splitlines()]
    run = json.loads(said[0])["run"]
    assert any(event.get("batch") == 1 and event["run"] == run for event in events)
    assert any(event.get("row") == 63 and "x" in event["message"] for event in events)
    assert b"the feed has 1 invalid lines; they are listed in n2.ledger.rejected.csv" in good.stderr
    assert events[-1]["message"] == "sync ended with 3"
    metrics = (synced.folder / "job.prom").read_text("utf-8")
    assert 'batcher_changes{status="applied"} 1.0' in metrics
    assert 'batcher_feed{kind="rejected"} 1.0' in metrics
    assert "batcher_last_success" not in metrics
    synced.write("feed.csv", MORE)
    assert synced.run("sync", "feed.csv", "--state", "s", "--simulate", "--ledger", "n3.ledger", *job).returncode == 0
    success = [line for line in (synced.folder / "job.prom").read_text("utf-8").splitlines() if "success_t" in line]
    synced.write("feed.csv", "")
    assert synced.run("sync", "feed.csv", "--state", "s", "--simulate", *job).returncode == 5
    metrics = (synced.folder / "job.prom").read_text("utf-8")
    assert success[-1] in metrics.splitlines()
    assert "batcher_exit_code 5.0" in metrics
    assert "empty-feed" in json.loads((synced.folder / "said").read_text("utf-8").splitlines()[0])["reason"]
    assert "very-secret" not in (synced.folder / "job.log").read_text("utf-8")
    synced.write("long.toml", f"[job]\nrun_after = '{'x' * 200_000}'\n")
    long = synced.run("sync", "feed.csv", "--state", "s", "--simulate", "-c", "long.toml")
    assert long.returncode == 5
    assert b"cannot be run: Argument list too long: xxx" in long.stderr
    hangs = synced.run("sync", "feed.csv", "--state", "s", "--simulate", "--run-after", "exit 3")
    assert b"the run_after command exited with 3" in hangs.stderr
    assert synced.run("sync", "feed.csv", "--state", "s", "--simulate", "--log-file", "no/such").returncode == 2


def test_a_feed_from_standard_input(synced):
    said = synced.run("sync", "-", "--state", "s", "--simulate", "--quiet", stdin=MORE.encode())
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith(b"exit 0: feed: 61 pairs in 61 lines, 0 rejected; 1 changes: 1 applied; 1 request")
    assert said.stdout.count(b"\n") == 1
    assert [path.name[:6] for path in synced.folder.glob("stdin.*.ledger")] == ["stdin."]
    planned = synced.run("plan", "-", "--state", "s", "--simulate", "-o", "p.json", stdin=MORE.encode())
    assert planned.returncode == 2


def test_a_log_that_cannot_be_written_costs_the_log_and_nothing_else(synced):
    job = ("--log-file", "/dev/full", "--metrics-file", "job.prom", "--run-after", "cat > said")
    done = synced.run("sync", "feed.csv", "--state", "s", "--simulate", *job)
    assert done.returncode == 0
    assert done.stderr.count(b"/dev/full cannot be written") == 1
    assert (synced.folder / "job.prom").exists()
    assert (synced.folder / "said").exists()


def test_nothing_is_left_to_do(synced):
    both = synced.run("sync", "feed.csv", "--state", "s", "--simulate", "--add-only", "--remove-only")
    assert both.returncode == 2
    assert b"--add-only and --remove-only together" in both.stderr


def test_keep(synced):
    for night in range(2, 5):
        result = synced.run(
            "sync", "feed.csv", "--state", "s", "--simulate", "--ledger", f"n{night}.ledger", "--keep", "2"
        )
        assert result.returncode == 0
    assert sorted(path.name for path in synced.folder.glob("*.ledger")) == ["n3.ledger", "n4.ledger"]


def test_an_export_with_everything(shell):
    """Semicolons, Windows-1252, a title, a total, dates, numbers of employees, departments, several groups."""
    shell.write("users.csv", "EmpID,id\n0017,5\n0018,6\n0019,7\n")
    shell.write("groups.csv", "Dept;group\nKüche;10\nKüche;11\nBüro;12\n")
    text = (
        "Personal am 22.11.2026\n"
        "EmpID;Dept;Austritt\n"
        "0017;Küche;\n"
        "0018;Büro|Küche;31.12.2026\n"
        "0019;Büro;21.11.2026\n"
        "Summe: 3;;\n"
    )
    shell.write("hr.txt", text.encode("windows-1252"))
    shell.write(
        "batcher.toml",
        """
        [input]
        map = { user = "EmpID", group = "Dept" }
        encoding = "windows-1252"
        skip_rows = 1
        where = ["EmpID!=Summe*"]
        [feed]
        user_map = "users.csv"
        group_map = "groups.csv"
        group_separator = "|"
        groups = ["99"]
        valid_to = "Austritt"
        date_format = "%d.%m.%Y"
        as_of = "2026-11-22"
        [sync]
        state = "s"
        """,
    )
    result = shell.run(
        "sync", "hr.txt", "-c", "batcher.toml", "--format", "csv", "--simulate", "--bootstrap", "--from-nothing",
        "--ledger", "l",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with StateStore.open(shell.folder / "s") as store:
        pairs = store.connection.execute('SELECT "user", "group" FROM pair WHERE known = 1 ORDER BY ALL').fetchall()
    assert pairs == [(5, 10), (5, 11), (5, 99), (6, 10), (6, 11), (6, 12), (6, 99)]


def wait_for(condition):
    for _ in range(400):
        if condition():
            return
        wait(0.02)
    raise AssertionError("it did not happen")


@pytest.mark.parametrize(
    "killed_at", [1, 3, pytest.param(0, marks=pytest.mark.slow), pytest.param(6, marks=pytest.mark.slow)]
)
def test_a_night_that_is_killed_is_closed_by_the_next(shell, killed_at):
    shell.write("feed.csv", FEED)
    shell.write("batcher.toml", "[limits]\nmax_changes = 5\n[rate]\nmax_in_flight = 1\nrequests = 'none'\n")
    with shell.simulator("--latency-ms", "100") as url:
        target = {
            "BATCHER_TARGET": "minapp",
            "BATCHER_URL": url,
            "BATCHER_TOKEN": "t",
            "BATCHER_CONFIG": "batcher.toml",
        }
        night = shell.start("sync", "feed.csv", "--state", "s", "--bootstrap", "--from-nothing", **target)
        wait_for(lambda: state_of(url)["requests"] >= killed_at)
        night.send_signal(signal.SIGKILL)
        night.communicate()
        if not (shell.folder / "s").exists():
            assert state_of(url)["requests"] == 0
            return
        shell.write("feed.csv", MORE)
        again = shell.run("sync", "feed.csv", "--state", "s", "--ledger", "n2.ledger", "--json", **target)
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)["changes"][Status.APPLIED.label] <= 61
        groups = state_of(url)["groups"]
    assert groups == {"10": [*range(1, 31), 99], "11": [*range(1, 31)]}
    with StateStore.open(Path(shell.folder / "s")) as store:
        (known,) = store.connection.execute("SELECT count(*) FROM pair WHERE known = ?", (int(Known.IN),)).fetchone()
    assert known == 61
