"""Settings: every mistake is reported, with what to write instead."""

from __future__ import annotations

import os
import subprocess

import pytest

from batcher import small_files
from batcher.core.batch import Limits
from batcher.core.errors import ConfigurationError
from batcher.credentials import credentials
from batcher.engine.jobs.job import preflight
from batcher.settings import Settings
from batcher.small_files import read_text
from batcher.targets import create


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"rate.margn": 1}, "unknown key rate.margn; did you mean 'margin'"),
        ({"rat.margin": 1}, "unknown key rat; did you mean 'rate'"),
        ({"zzzzz.y": 1}, "unknown key zzzzz; known keys: target, auth"),
        ({"rate": 1}, "invalid setting 'rate'; expected section.key"),
        ({"rate.burst": "x"}, "Expected `int`, got `str`"),
        ({"rate.burst": 0}, "rate.burst = 0 is out of range; expected 1 to 1,000,000"),
        ({"rate.margin": float("nan")}, "rate.margin = nan is out of range"),
        ({"rate.margin": 1.0}, "rate.margin must be a share"),
        ({"rate.margin": float("inf")}, "out of range"),
        ({"rate.max_in_flight": 0}, "expected 1 to 10,000"),
        ({"rate.max_in_flight": 10_001}, "expected 1 to 10,000"),
        ({"rate.requests": "fast"}, "invalid rate"),
        ({"rate.changes": "fast"}, "invalid rate"),
        ({"limits.max_bytes": 16383}, "expected 16,384"),
        ({"limits.max_changes": 10**20}, ""),
        ({"retry.max_wait": "x"}, "invalid duration"),
        ({"guard.deadline": "x"}, "invalid duration"),
        ({"guard.max_failures": "x"}, "invalid failure budget"),
        ({"input.delimiter": ";;"}, "single ASCII character"),
        ({"input.delimiter": "§"}, "single ASCII character"),
        ({"input.delimiter": '"'}, "single ASCII character"),
        ({"guard.done_file": "{nam}.done"}, "may contain no braces but {name}"),
        ({"guard.done_file": "{name}.{"}, "may contain no braces but {name}"),
        ({"guard.trailer": "END"}, "must contain {rows} once"),
        ({"feed.date_format": "%Q"}, "does not identify year, month and day"),
        ({"feed.date_format": "%d.%m."}, "does not identify year, month and day"),
        ({"feed.date_format": "day"}, "does not identify year, month and day"),
        ({"target.env": "a\r\nb"}, "only printable ASCII characters"),
        ({"target.tls_fingerprint": "zz"}, "64 hexadecimal digits"),
        ({"target.url": "example.org"}, "expected https://host"),
        ({"target.url": "https://["}, "invalid target.url"),
        ({"target.url": "https://h:99999"}, "invalid target.url"),
        ({"target.url": "https://:80"}, "has no host"),
        ({"target.url": "https://h/?x=1"}, "invalid target.url"),
        ({"target.url": "https://h o"}, "invalid target.url"),
        ({"target.url": "http://example.org"}, "unencrypted"),
    ],
)
def test_what_cannot_be_used(overrides, said):
    with pytest.raises(ConfigurationError) as error:
        Settings.load(None, overrides)
    assert said in str(error.value)


def test_credentials_in_a_url_are_refused_and_not_repeated():
    with pytest.raises(ConfigurationError) as error:
        Settings.load(None, {"target.url": "ftp://u:hunter2@h"})
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("size", [16384, 16385])
def test_the_least_request(size):
    assert Settings.load(None, {"limits.max_bytes": size}).limits.max_bytes == size


def test_flags_beat_the_file_and_the_file_beats_defaults(tmp_path):
    file = tmp_path / "b.toml"
    file.write_text('[rate]\nrequests = "7/s"\nburst = 2\n[target]\nca_file = "ca.pem"\n', encoding="utf-8")
    settings = Settings.load(file, {"rate.requests": "9/s"})
    assert (settings.rate.requests, settings.rate.burst, settings.rate.margin) == ("9/s", 2, 0.03)
    assert settings.target.ca_file.endswith("/ca.pem")
    assert settings.target.ca_file.startswith("/")
    assert Settings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize("content", [b"[rate", b"\xff\xfe\xff", b"\xc3", None])
def test_files_that_cannot_be_read(tmp_path, content):
    file = tmp_path / "b.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"b\.toml"):
        Settings.load(file)


def test_plain_http_only_to_loopback_or_by_name():
    for url in ("http://127.0.0.1:1", "http://localhost", "http://[::1]:9"):
        assert Settings.load(None, {"target.url": url}).target.url == url
    assert Settings.load(None, {"target.url": "http://example.org", "target.insecure": True})


def test_limits_of_a_target():
    """Missing limits have defaults, limits that do not apply are refused, and the rate of changes limits a request."""
    scrutinizer = create("scrutinizer", "https://x", "")
    assert Settings.load(None, {"limits.max_changes": 7}).limits_for(scrutinizer).max_changes == 7
    with pytest.raises(ConfigurationError, match=r"limits\.max_users does not apply to scrutinizer"):
        Settings.load(None, {"limits.max_users": 7}).limits_for(scrutinizer)
    limited = Settings.load(None, {"rate.changes": "50/min"}).limits_for(create("minapp", "", ""))
    assert limited == Limits(1000, 100, 50, 50, 256 * 1024)


def test_credentials(tmp_path):
    """The environment takes precedence over files; values that cannot be sent in a header are refused."""
    token, secret = tmp_path / "token", tmp_path / "secret"
    token.write_text("from-file\n", encoding="utf-8")
    secret.write_text("secret-file", encoding="utf-8")
    auth = Settings.load(
        None, {"auth.token_file": str(token), "auth.client_id": "me", "auth.client_secret_file": str(secret)}
    ).auth
    assert credentials(auth, {}).token == "from-file"
    given = credentials(auth, {"BATCHER_TOKEN": "env\n", "BATCHER_CLIENT_ID": "you"})
    assert (given.token, given.client_id, given.client_secret) == ("env", "you", "secret-file")
    assert given.secrets == ("env", "secret-file")
    with pytest.raises(ConfigurationError, match="the token contains a line break"):
        credentials(auth, {"BATCHER_TOKEN": "a\nb"})
    token.unlink()
    with pytest.raises(ConfigurationError, match=r"auth\.token_file"):
        credentials(auth, {})


@pytest.mark.parametrize("form", ["%d.%m.%Y", "%d/%m/%y", "%Y%m%d", "%Y-%m-%d %H:%M:%S", "%Y-%j"])
def test_formats_of_days(form):
    assert Settings.load(None, {"feed.date_format": form}).feed.date_format == form


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "127.0.0.2", "[::1]", "[0:0:0:0:0:0:0:1]", "LOCALHOST", "localhost."]
)
def test_this_machine_by_any_name(host):
    assert Settings.load(None, {"target.url": f"http://{host}:9"}).target.url


@pytest.mark.parametrize("host", ["128.0.0.1", "localhost.example.org", "[::2]", "127.example.org"])
def test_what_is_not_this_machine(host):
    with pytest.raises(ConfigurationError, match="unencrypted"):
        Settings.load(None, {"target.url": f"http://{host}:9"})


def test_the_line_of_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "c.toml"
    path.write_bytes(b'[target]\nkind = "minapp"\nurl = "\xff"\n')
    with pytest.raises(ConfigurationError, match=r"c\.toml, line 3: invalid UTF-8"):
        Settings.load(path)


def test_a_pipe_that_somebody_writes_into_is_read(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with subprocess.Popen(["sh", "-c", "echo secret > pipe"], cwd=tmp_path):
        assert read_text(path) == "secret\n"


def test_a_pipe_that_nobody_writes_into_is_no_wait_without_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(small_files, "_PATIENCE", 0.05)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="nothing was written to it"):
        read_text(tmp_path / "pipe")


def test_authorities_that_are_not_there_are_not_passed_over(monkeypatch, tmp_path):
    """OpenSSL would trust nobody, and every server would look like an impostor."""
    target, given = Settings.load(None, {"target.kind": "minapp", "target.url": "https://127.0.0.1:9"}), None
    for name, value in (("SSL_CERT_FILE", "/none.pem"), ("SSL_CERT_DIR", "/none:/nothing")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(ConfigurationError, match=f"{name} names .*, which does not exist"):
                preflight(target, given)
            preflight(target.replace(target={"insecure": True}), given)
            preflight(target.replace(target={"url": "http://127.0.0.1:9"}), given)
    preflight(target, given)
    for key, value in (("ca_file", tmp_path), ("client_cert", tmp_path)):
        with pytest.raises(ConfigurationError, match="is a directory"):
            preflight(target.replace(target={key: str(value)}), given)
