"""Long secrets that are echoed folded, in parts, or spelt: no run of them is left, and nothing else goes."""

from __future__ import annotations

import base64
import json
import random
import re
import string
import textwrap

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batcher.core.errors import ConfigurationError
from batcher.core.secrets import Secrets
from batcher.settings import Settings

RUN = 16
DICE = random.Random(7)
URL_SAFE = string.ascii_letters + string.digits + "-_"
JWT = "eyJhbGciOiJIUzI1NiJ9." + ".".join("".join(DICE.choices(URL_SAFE, k=length)) for length in (175, 43))
OPAQUE = "".join(DICE.choices(URL_SAFE, k=32))
FOLDS = [
    "\n",
    "\r\n",
    "\t",
    "\n ",
    "<br>\n",
    "<br/>",
    "&lt;br&gt;\n",
    "\\n",
    "\\r\\n",
    "\n> ",
    '" +\n    "',
    "=\n",
    "%0A",
    "\r\n\r\n\t",
]


def base64_of(text: str, before: str = "") -> str:
    return base64.b64encode((before + text).encode()).decode()


SPELT = {
    "MIME": lambda t: base64.encodebytes(t.encode()).decode(),
    "MIME after one": lambda t: base64.encodebytes(b":" + t.encode()).decode(),
    "MIME after two": lambda t: base64.encodebytes(b"::" + t.encode()).decode(),
    "the end of base64": lambda t: base64_of(t)[-40:],
    "base64 of the end": lambda t: base64_of(t[-20:]),
    "base64 twice": lambda t: base64_of(base64_of(t)),
    "basic twice": lambda t: base64_of(base64_of(t, "u:"), "x"),
    "base64 of UTF-16": lambda t: base64.b64encode(t.encode("utf-16-le")).decode(),
    "base32": lambda t: base64.b32encode(b"me:" + t.encode()).decode(),
    "lower base32": lambda t: base64.b32encode(t.encode()).decode().lower().rstrip("="),
    "hex dump of the end": lambda t: t[-20:].encode().hex(" ", 2),
    "0x": lambda t: ", ".join(f"0x{b:02x}" for b in t.encode()),
    "UTF-16": lambda t: t.encode("utf-16-le").decode("utf-8", "replace"),
    "UTF-32": lambda t: t.encode("utf-32-le").decode(),
    "three blanks": "   ".join,
    "hyphens": "-".join,
    "zero width": "\u200b".join,
    "list of characters": lambda t: json.dumps(list(t)),
    "list of bytes": lambda t: json.dumps(list(t.encode())),
    "tight list of bytes": lambda t: json.dumps(list(t.encode()), separators=(",", ":")),
    "octal": lambda t: "".join(f"\\{b:03o}" for b in t.encode()),
    "braces": lambda t: "".join(f"\\u{{{ord(c):x}}}" for c in t),
    "entities of the end": lambda t: "".join(f"&#{ord(c)};" for c in t[-20:]),
    "escapes of the end": lambda t: "".join(f"\\u{ord(c):04x}" for c in t[-20:]),
    "list of escapes of the end": lambda t: ", ".join(f'"\\u{ord(c):04x}"' for c in t[-20:]),
    "percent of the end": lambda t: "".join(f"%{ord(c):02X}" for c in t[-20:]),
}
"""How a server may echo a token besides what every secret is masked in."""


def scrub(text: str, *secrets: str) -> str:
    known = Secrets()
    known.add(*secrets)
    found = known.scrub(text)
    assert known.scrub(found) == found
    return found


def assert_no_run(found: str, secret: str) -> None:
    found = re.sub(r"\s|<br>", "", found)
    assert not [at for at in range(len(secret) - RUN + 1) if secret[at : at + RUN] in found], found


@pytest.mark.parametrize("fold", FOLDS)
@pytest.mark.parametrize("width", [20, 50, 76])
@pytest.mark.parametrize("form", [str, base64_of], ids=["plain", "base64"])
def test_a_folded_secret_goes_as_a_whole(form, width, fold):
    folded = fold.join(textwrap.wrap(form(JWT), width, break_on_hyphens=False))
    assert re.fullmatch(r"bad token <\*\*\*(=*>,)? renew it", scrub(f"bad token <{folded}>, renew it", JWT))


@pytest.mark.parametrize("secret", [JWT, OPAQUE], ids=["long", "short"])
@pytest.mark.parametrize("part", [slice(-RUN, None), slice(5, 5 + RUN), slice(8, -8), slice(3, None)], ids=str)
def test_a_part_is_masked_wherever_it_is_of_the_secret(part, secret):
    assert scrub(f"bad signature {secret[part]} of you", secret) == "bad signature *** of you"
    assert scrub(f"token ****{secret[part]}", secret) == "token *******"


@pytest.mark.parametrize("kind", SPELT)
@pytest.mark.parametrize("secret", [JWT, OPAQUE], ids=["long", "short"])
def test_a_spelt_secret_is_masked(kind, secret):
    found = scrub(f"you sent ({SPELT[kind](secret)})", secret)
    assert "***" in found
    assert len(re.sub(r"[\W_]", "", found.removeprefix("you sent"))) < RUN, found


SECRETS = st.text(URL_SAFE + ".~", min_size=32, max_size=300)
CUTS = st.lists(st.integers(0, 300), max_size=8).map(sorted)
BETWEEN = ["\n", "\r\n ", "\t", "<br>\n", "\\n", " x ", "***", "   "]


@given(SECRETS, CUTS, st.sampled_from(BETWEEN), st.integers(0, 4))
@example("-" * 40, [25], "\n", 0)
@example("0" * 32, [1, 1, 16, 16], "<br>\n", 0)
def test_no_run_of_a_secret_survives(secret, cuts, between, first):
    """However it is folded and cut, and whatever it consists of."""
    pieces = [secret[a:b] for a, b in zip([0, *cuts], [*cuts, len(secret)], strict=True)]
    assert_no_run(scrub(f"no: {between.join(pieces[first:])} is wrong", secret), secret)


@pytest.mark.parametrize("text", [
    f"the token {JWT[40:55]} is half a run",
    "signature of eyJhbGci is missing; expected a token such as xxxxxxxxxxxx",
    '{"error": "user 1000000000000000000001 is no member of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", "path": "C:\\\\100\\\\temp"}',
    "https://host/a?b=%20%41&amp;c=&#101; <b>0x65</b>",
])  # fmt: skip
def test_what_is_no_run_stays(text):
    assert scrub(text, JWT, OPAQUE, "short-secret") == text


def test_a_short_secret_is_found_as_a_whole_only():
    assert scrub("fifteen-letters", "fifteen-letters") == "***"
    assert scrub("een-letters", "fifteen-letters") == "een-letters"


def test_a_placeholder_is_a_secret_like_any_other():
    assert scrub("a" * 2000 + " the man " + "a" * 15, "a" * 300) == "*** the man " + "a" * 15


def test_parts_of_two_secrets_with_the_same_beginning():
    other = JWT[:60] + JWT[60:].swapcase()[::-1]
    assert scrub(f"{other[-30:]} {JWT[-30:]} {JWT[50:70]} {other[50:70]}", JWT, other) == "*** *** *** ***"


@pytest.mark.parametrize("url", [f"http://host/?token={JWT}", f"https://host/#{JWT}", f"http://host?{JWT}\n#{JWT}"])
def test_an_address_with_a_query_is_refused_without_it(url):
    with pytest.raises(ConfigurationError, match=r"invalid target.url 'https?://host/?[?#]\*\*\*'") as refused:
        Settings.load(None, {"target.url": url})
    assert_no_run(str(refused.value), JWT)
