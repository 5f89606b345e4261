"""The network as it is in companies: proxies, client certificates, authorities of their own, IPv6."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from hashlib import sha256
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from missing import without
from shell import state_of, wait

from batcher.core.errors import ConfigurationError
from batcher.credentials import credentials
from batcher.sections import AuthSettings
from batcher.transport import Trust
from batcher.transport.proxies import proxy_for

HTTPS, HTTP = "https://api.example.com/x", "http://api.example.com:8080"
CORP = "http://proxy.corp:3128"


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        (HTTPS, {}, None),
        (HTTPS, {"HTTPS_PROXY": CORP}, CORP),
        (HTTPS, {"https_proxy": CORP, "HTTPS_PROXY": "http://other:1"}, CORP),
        (HTTPS, {"HTTP_PROXY": CORP}, None),
        (HTTP, {"HTTP_PROXY": CORP}, CORP),
        (HTTP, {"HTTP_PROXY": CORP, "REQUEST_METHOD": "GET"}, None),
        (HTTP, {"http_proxy": CORP, "REQUEST_METHOD": "GET"}, CORP),
        (HTTPS, {"ALL_PROXY": "proxy.corp:3128"}, CORP),
        (HTTPS, {"all_proxy": "proxy.corp"}, "http://proxy.corp:80"),
        (HTTPS, {"HTTPS_PROXY": ""}, None),
        (HTTPS, {"HTTPS_PROXY": CORP, "NO_PROXY": "*"}, None),
        (HTTPS, {"HTTPS_PROXY": CORP, "NO_PROXY": "example.com"}, None),
        (HTTPS, {"HTTPS_PROXY": CORP, "NO_PROXY": "a.b, .example.com"}, None),
        (HTTPS, {"HTTPS_PROXY": CORP, "NO_PROXY": "*.example.com"}, None),
        (HTTPS, {"HTTPS_PROXY": CORP, "NO_PROXY": "foo  api.example.com"}, None),
        (HTTPS, {"HTTPS_PROXY": CORP, "NO_PROXY": "api.example.com."}, None),
        (HTTPS, {"HTTPS_PROXY": CORP, "NO_PROXY": "API.Example.COM:443"}, None),
        (HTTPS, {"HTTPS_PROXY": CORP, "NO_PROXY": "api.example.com:444"}, CORP),
        (HTTPS, {"HTTPS_PROXY": CORP, "NO_PROXY": "ample.com"}, CORP),
        (HTTPS, {"HTTPS_PROXY": CORP, "no_proxy": "", "NO_PROXY": "example.com"}, None),
        ("https://10.1.2.3", {"HTTPS_PROXY": CORP, "NO_PROXY": "10.0.0.0/8"}, None),
        ("https://11.1.2.3", {"HTTPS_PROXY": CORP, "NO_PROXY": "10.0.0.0/8"}, CORP),
        ("https://[2001:db8::1]", {"HTTPS_PROXY": CORP, "NO_PROXY": "2001:db8::/32"}, None),
        ("https://[2001:db8::1]", {"HTTPS_PROXY": CORP, "NO_PROXY": "[2001:db8::1]"}, None),
        ("http://127.0.0.1:5", {"HTTP_PROXY": CORP}, None),
        ("http://localhost:5", {"HTTP_PROXY": CORP}, None),
        ("http://[::1]:5", {"HTTP_PROXY": CORP}, None),
        (HTTPS, {"HTTPS_PROXY": "http://[::1]:3128"}, "http://[::1]:3128"),
    ],
)
def test_the_proxy_of_an_environment(url, environment, expected):
    found = proxy_for(url, "", "", environment)
    assert (found and found.url) == expected
    assert proxy_for(url, "none", "", environment) is None
    assert proxy_for(url, "given:8", "a:b:c", environment).password == "b:c"


@pytest.mark.parametrize("text", ["socks5://proxy.corp:1080", "https://proxy.corp", "http://", "http://x:abc", "::"])
def test_proxies_that_cannot_be_used(text):
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY"):
        proxy_for(HTTPS, "", "", {"HTTPS_PROXY": text})
    with pytest.raises(ConfigurationError, match=r"target\.proxy"):
        proxy_for(HTTPS, text, "", {})


def test_credentials_of_proxies_are_secrets():
    environment = {"HTTPS_PROXY": "http://joe:pa%40ss-word@proxy.corp", "BATCHER_PROXY_CREDENTIALS": "amy:other:one"}
    found = proxy_for(HTTPS, "", "", environment)
    assert (found.user, found.password) == ("joe", "pa@ss-word")
    assert "pa@ss" not in repr(found) + str(found)
    assert {"pa@ss-word", "pa%40ss-word", "other:one"} <= set(credentials(AuthSettings(), environment).secrets)
    with pytest.raises(ConfigurationError, match="must not contain credentials") as caught:
        proxy_for(HTTPS, "http://joe:hidden@proxy.corp", "", {})
    assert "hidden" not in str(caught.value)


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_a_proxy_or_an_error_of_ours(text, exceptions):
    with contextlib.suppress(ConfigurationError):
        proxy_for(HTTPS, "", "", {"HTTPS_PROXY": text, "NO_PROXY": exceptions})


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfsecret-token\r\n",
        b"secret-token\n",
        "\u00a0secret-token\u00a0\n".encode(),
        "secret-token\r\n".encode("utf-16"),
        "\u200bsecret-token\ufeff".encode(),
    ],
)
def test_files_of_secrets_as_editors_write_them(tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)
    assert credentials(AuthSettings(token_file=str(file)), {}).token == "secret-token"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"secret\ntoken", "a line break after 6 characters"),
        ("secret\u00a0token".encode(), r"U\+00A0 \(no-break space\)"),
        (b"\xff\xfe\xff", "invalid UTF-8"),
        (b"secre\xe9t", "invalid UTF-8"),
    ],
)
def test_files_that_hold_nothing_of_use(tmp_path, content, told):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=told) as caught:
        credentials(AuthSettings(token_file=str(file)), {})
    assert "secre" not in str(caught.value)


# A proxy of our own, which knows where every name leads.


class _Proxy(StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            self._handle()

    def _handle(self):
        line = self.rfile.readline()
        head = []
        while (field := self.rfile.readline()).strip():
            head.append(field)
        self.server.seen.append((line.decode().strip(), b"".join(head).decode()))
        wanted = self.server.credentials
        if wanted and f"Basic {base64.b64encode(wanted).decode()}".encode() not in b"".join(head):
            self.wfile.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        if self.server.refuses:
            self.wfile.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % self.server.refuses)
            return
        with socket.create_connection(self.server.leads_to) as target:
            if line.startswith(b"CONNECT"):
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                method, url, version = line.split()
                target.sendall(
                    b" ".join([method, b"/" + url.split(b"/", 3)[3], version]) + b"\r\n" + b"".join(head) + b"\r\n"
                )
            back = threading.Thread(target=_copy, args=(target, self.connection))
            back.start()
            _copy_file(self.rfile, target)
            back.join()


def _copy(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def _copy_file(source, sink):
    with contextlib.suppress(OSError):
        while data := source.read1(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def proxying(port, credentials=b"", refuses=0):
    class Server(ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    with Server(("127.0.0.1", 0), _Proxy) as server:
        server.seen, server.credentials, server.refuses = [], credentials, refuses
        server.leads_to = ("127.0.0.1", port)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield server, f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@contextlib.contextmanager
def encrypted(port, tmp_path, *, asks=False):
    """TLS in front of a simulator, for `api.example`; gives its port and the files of both ends."""
    authority = trustme.CA()
    server, client = authority.issue_cert("api.example", "127.0.0.1", "::1"), authority.issue_cert("client.example")
    files = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "cert", "key", "both")}
    authority.cert_pem.write_to_path(files["ca"])
    client.cert_chain_pems[0].write_to_path(files["cert"])
    client.private_key_pem.write_to_path(files["key"])
    client.private_key_and_cert_chain_pem.write_to_path(files["both"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.configure_cert(context)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)

    class Handler(StreamRequestHandler):
        def handle(self):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port)) as target,
                context.wrap_socket(self.request, server_side=True) as peer,
            ):
                back = threading.Thread(target=_copy, args=(target, peer))
                back.start()
                _copy(peer, target)
                back.join()

    class Server(ThreadingTCPServer):
        address_family = socket.AF_INET6
        allow_reuse_address = daemon_threads = True

        def server_bind(self):
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            super().server_bind()

    with Server(("::", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield listening.server_address[1], files
        finally:
            listening.shutdown()


def _port(url):
    return int(url.rpartition(":")[2])


def _config(shell, name="b.toml", **keys):
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    return shell.write(name, f'[target]\nkind = "minapp"\n{lines}[retry]\nmax_attempts = 2\nmax_wait = "2s"\n')


def _apply(shell, config, ledger="l", **environment):
    shell.write("two.csv", "op,user_id,group_id\nadd,1,2\nadd,3,4\n")
    return shell.run(
        "apply", "two.csv", "-c", config, "--rate", "none", "--ledger", ledger, BATCHER_TOKEN="t", **environment
    )


def test_through_a_proxy_of_the_environment(shell):
    """The name is the proxy's to resolve; every request goes through it, and `check` says so."""
    with shell.simulator() as url, proxying(_port(url)) as (proxy, address):
        config = _config(shell, url="http://api.example", insecure=True)
        done = _apply(shell, config, HTTP_PROXY=f"http://{address}")
        assert done.returncode == 0, done.stderr
        assert proxy.seen[0][0] == "PATCH http://api.example/oserve/v2.4/user/membership/ HTTP/1.1".replace(
            "/oserve/v2.4/user/membership/", proxy.seen[0][0].split()[1].removeprefix("http://api.example")
        )
        told = shell.run("check", "-c", config, "--json", BATCHER_TOKEN="t", http_proxy=f"http://{address}")
        assert json.loads(told.stdout)["way"]["proxy"] == f"http://{address} (http_proxy)"
        assert _apply(shell, config, "d", HTTP_PROXY=f"http://{address}", NO_PROXY="example").returncode == 6


def test_a_tunnel_with_credentials(shell, tmp_path):
    """To an encrypted target, whose certificate is still verified; the proxy's password is nowhere to be seen."""
    with (
        shell.simulator() as url,
        encrypted(_port(url), tmp_path) as (port, files),
        proxying(port, b"joe:tr0ub4dor-and-3") as (proxy, address),
    ):
        config = _config(shell, url="https://api.example", ca_file=files["ca"], proxy=address)
        done = _apply(shell, config, BATCHER_PROXY_CREDENTIALS="joe:tr0ub4dor-and-3")
        assert done.returncode == 0, done.stderr
        assert proxy.seen[0][0] == "CONNECT api.example:443 HTTP/1.1"
        assert "Bearer" not in proxy.seen[0][1]
        refused = _apply(shell, config, "r", BATCHER_PROXY_CREDENTIALS="joe:tr0ub4dor-wrong")
        assert refused.returncode == 4
        assert b"requires credentials, or does not accept ours" in refused.stderr
        for file in shell.folder.iterdir():
            if file.is_file():
                assert b"tr0ub4dor" not in file.read_bytes(), file
        assert b"tr0ub4dor" not in refused.stderr + done.stderr
        distrusted = _config(shell, "d.toml", url="https://api.example", proxy=address)
        assert _apply(shell, distrusted, "t", BATCHER_PROXY_CREDENTIALS="joe:tr0ub4dor-and-3").returncode == 6


@pytest.mark.parametrize(("status", "code"), [(403, 6), (502, 6), (407, 4)])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxies_that_refuse(shell, scheme, status, code):
    with proxying(9, refuses=status) as (_, address):
        config = _config(shell, url=f"{scheme}://api.example", proxy=address, insecure=True)
        done = _apply(shell, config)
        if (scheme, status) == ("http", 403):
            code = 4  # without a tunnel nothing tells whether the target has said it
        assert done.returncode == code
        assert b"proxy" in done.stderr or scheme == "http"
        assert done.stderr.splitlines()[-1] == b"batcher resume l"


def test_no_proxy_there(shell):
    done = _apply(shell, _config(shell, url="https://api.example", proxy="127.0.0.1:9"))
    assert done.returncode == 6
    assert b"no connection to the proxy http://127.0.0.1:9 (target.proxy)" in done.stderr
    nameless = _apply(shell, _config(shell, url="https://api.example", proxy="no-such-proxy.invalid:3128"), "n")
    assert nameless.returncode == 6
    assert b"no connection to the proxy http://no-such-proxy.invalid:3128" in nameless.stderr


def test_the_embedded_server_and_loads_go_directly(shell):
    shell.write("two.csv", "op,user_id,group_id\nadd,1,2\n")
    dead = {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
    assert shell.run("apply", "two.csv", "--simulate", **dead).returncode == 0
    load = shell.run(
        "load",
        "--target",
        "minapp",
        "--url",
        "https://api.example",
        "--i-own-this-target",
        "--closed",
        BATCHER_TOKEN="t",
        HTTPS_PROXY="http://127.0.0.1:9",
    )
    assert load.returncode == 2
    assert b"must not go through the proxy" in load.stderr


def test_through_tinyproxy(shell, tmp_path):
    """A real one, with its own idea of HTTP."""
    program = shutil.which("tinyproxy")
    if program is None:
        without("tinyproxy")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        at = free.getsockname()[1]
    shell.write(
        "t.conf", f'Port {at}\nListen 127.0.0.1\nTimeout 10\nLogFile "{tmp_path}/log"\nBasicAuth joe sesame-42\n'
    )
    process = subprocess.Popen([program, "-d", "-c", str(shell.folder / "t.conf")], stdout=subprocess.DEVNULL)
    try:
        with shell.simulator() as url, encrypted(_port(url), tmp_path) as (port, files):
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", at)):
                    break
                wait(0.05)
            shell.write("proxy.txt", "joe:sesame-42\n")
            for number, (address, more) in enumerate(
                ((url, {}), (f"https://127.0.0.1:{port}", {"ca_file": files["ca"]}))
            ):
                config = _config(shell, url=address, proxy=f"http://127.0.0.1:{at}", **more)
                with (shell.folder / config).open("a") as file:
                    file.write('[auth]\nproxy_file = "proxy.txt"\n')
                done = _apply(shell, config, f"l{number}")
                assert done.returncode == 0, done.stderr
            assert state_of(url)["changes"] == 4
    finally:
        process.terminate()
        process.wait(10)


def test_a_target_that_asks_who_we_are(shell, tmp_path):
    """With certificate and key in two files or in one, beside an authority or a fingerprint; and without any."""
    with shell.simulator() as url, encrypted(_port(url), tmp_path, asks=True) as (port, files):
        address, ca = f"https://127.0.0.1:{port}", {"ca_file": files["ca"]}
        pinned = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))
        for number, given in enumerate(
            (
                ca | {"client_cert": files["cert"], "client_key": files["key"]},
                ca | {"client_cert": files["both"]},
                {"client_cert": files["both"], "tls_fingerprint": sha256(pinned).hexdigest()},
                {"client_cert": files["both"], "insecure": True},
            )
        ):
            config = _config(shell, url=address, **given)
            done = _apply(shell, config, f"l{number}")
            assert done.returncode == 0, done.stderr
        config = _config(shell, url=address, **ca)
        refused = _apply(shell, config, "r")
        assert refused.returncode == 4
        assert b"it requires a client certificate: target.client_cert" in refused.stderr
        checked = shell.run("check", "-c", config, BATCHER_TOKEN="t")
        assert checked.returncode == 4, checked.stderr
        assert b"it requires a client certificate" in checked.stderr
        both = _config(shell, url=address, **ca, client_cert=files["both"])
        assert shell.run("resume", "r", "-c", both, BATCHER_TOKEN="t").returncode == 0
        told = json.loads(shell.run("check", "-c", both, "--json", BATCHER_TOKEN="t").stdout)["way"]
        assert told["client_certificate"] == files["both"]
        assert told["trusts"] == f"the certificate authorities in {files['ca']}"
        assert told["address"] == f"127.0.0.1:{port}"


def test_authorities_of_the_system_and_ipv6(shell, tmp_path):
    with shell.simulator() as url, encrypted(_port(url), tmp_path) as (port, files):
        config = _config(shell, url=f"https://[::1]:{port}")
        assert _apply(shell, config, "a", SSL_CERT_FILE=files["ca"]).returncode == 0
        distrusted = _apply(shell, config, "b")
        assert distrusted.returncode == 6
        assert b"certificate is not trusted" in distrusted.stderr
        assert b"correct the URL" not in distrusted.stderr
        told = shell.run("check", "-c", config, BATCHER_TOKEN="t", SSL_CERT_FILE=files["ca"]).stdout.decode()
        assert f"address: [::1]:{port}" in told
        assert f"the certificate authorities in {files['ca']}" in told


def test_certificates_that_cannot_be_shown(tmp_path):
    authority = trustme.CA()
    one, other = authority.issue_cert("a.example"), authority.issue_cert("b.example")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    one.cert_chain_pems[0].write_to_path(str(cert))
    other.private_key_pem.write_to_path(str(key))
    for files, told in (
        ({"client_cert": str(cert), "client_key": str(key)}, "the key must belong to the certificate"),
        ({"client_cert": str(cert)}, "cannot be used"),
        ({"client_cert": str(tmp_path / "none")}, "no such file"),
        ({"client_key": str(key)}, "without its certificate; set target.client_cert"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            Trust(**files).context()
    if shutil.which("openssl"):
        locked = tmp_path / "locked.pem"
        one.private_key_pem.write_to_path(str(key))
        command = ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:x", "-out", str(locked)]
        subprocess.run(command, check=True, capture_output=True, env=dict(os.environ))
        with pytest.raises(ConfigurationError, match="encrypted"):
            Trust(client_cert=str(cert), client_key=str(locked)).context()
