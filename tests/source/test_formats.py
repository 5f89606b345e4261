"""Another format needs one file and an entry point; what is unknown is refused with what there is."""

from __future__ import annotations

import plus_minus
import pytest
from click.testing import CliRunner
from harness import Play, Target, settings_for

from batcher.cli import app
from batcher.core.errors import ConfigurationError
from batcher.source import formats


@pytest.fixture
def installed(monkeypatch):
    known = {**formats.formats(), "plus-minus": plus_minus.FORMAT}
    monkeypatch.setattr(formats, "formats", lambda: known)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("name", "kind"), [("changes.pm", ""), ("changes.pm.gz", ""), ("changes.txt", "plus-minus")])
def test_it_is_recognised_read_and_gone_on_with(tmp_path, name, kind):
    import gzip  # noqa: PLC0415

    path, text = tmp_path / name, b"+ 5 53\nwhat?\n- 6 53\n+ 7 54\n+ x 54\n"
    path.write_bytes(gzip.compress(text, mtime=0) if name.endswith(".gz") else text)
    play = Play(tmp_path, Target(), settings_for("minapp", input_format=kind))
    play.apply_files(path)
    assert play.statuses() == [(1, "applied"), (2, "rejected"), (3, "applied"), (4, "applied"), (5, "rejected")]
    assert play.target.members() == {(5, 53), (7, 54)}


def test_those_of_ours_are_found_by_their_names():
    assert sorted(formats.formats()) == ["csv", "json", "jsonl"]
    assert {suffix for known in formats.formats().values() for suffix in known.suffixes} == {
        ".csv",
        ".tsv",
        ".json",
        ".jsonl",
        ".ndjson",
    }


def test_an_unknown_format_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("op,user,group\nadd,1,2\n")
    with pytest.raises(ConfigurationError, match="csv, json, jsonl"):
        formats.named("xml")
    for command in ("apply", "plan"):
        done = CliRunner().invoke(app, [command, "a.csv", "--simulate", "--target", "minapp", "--format", "xml"])
        assert done.exit_code == 2
        assert "csv, json, jsonl" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
