"""Secrets in addresses: what is shown never holds them, what is opened does."""

from __future__ import annotations

import string
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpose_rt.errors import UsageError
from tfpose_rt.io.urls import mask, mask_text, parse_url

CANARY = "s3cr3t-c4n4ry"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"rtsp://admin:{CANARY}@10.0.0.5:554/live", "rtsp://***@10.0.0.5:554/live"),
        (f"rtsp://admin:p@{CANARY}@host/live", "rtsp://***@host/live"),
        (f"rtsp://admin:p/{CANARY}@host/live", "rtsp://***@host/live"),
        (f"rtsp://admin:p?{CANARY}@host/live", "rtsp://***@host/live"),
        (f"rtsp://admin:p%40{CANARY}@host/live", "rtsp://***@host/live"),
        (f"http://host/video?fps=5&access_token={CANARY}", "http://host/video?fps=5&access_token=***"),
        (f"http://host/v?API%5FKEY={CANARY};Sig={CANARY}&x=1", "http://host/v?API%5FKEY=***;Sig=***&x=1"),
        (f"srt://host:9000?mode=caller&passphrase={CANARY}", "srt://host:9000?mode=caller&passphrase=***"),
        (f"http://host/v#token={CANARY}", "http://host/v"),
        (f"http://{CANARY}@host/", "http://***@host/"),
        (f"http://host/mail?to=a@b&key={CANARY}", "http://***@b&key=***"),
        ("udp://@:1234", "udp://@:1234"),
        ("rtsp://[fe80::1]:554/x", "rtsp://[fe80::1]:554/x"),
        ("http://host:8080/plain", "http://host:8080/plain"),
        ("not a url", "not a url"),
    ],
)
def test_masking(url: str, shown: str) -> None:
    assert mask(url) == shown
    assert mask(mask(url)) == mask(url)
    assert mask_text(f"cannot open '{url}'") == f"cannot open '{shown}'" or " " in url


@given(
    user=st.text(string.ascii_letters + string.digits + "-_.", min_size=1, max_size=8),
    password=st.text(string.ascii_letters + string.digits + "@:/?#&=%+!$~", max_size=12),
    path=st.text(string.ascii_lowercase + "/", max_size=8),
)
def test_no_password_survives_masking(user: str, password: str, path: str) -> None:
    """However oddly it is written, unescaped included. The canary stands in the middle of the password."""
    url = f"rtsp://{user}:{password}{CANARY}{password[::-1]}@host:554/{path}"
    assert CANARY not in mask(url)


def test_the_real_address_holds_the_credentials_and_nothing_else_does() -> None:
    url = parse_url(f"rtsp://admin:a@b/{CANARY}@10.0.0.5:554/live", environ={})
    parts = urlsplit(url.real)
    assert (parts.username, unquote(parts.password or "")) == ("admin", f"a@b/{CANARY}")
    assert (parts.hostname, parts.port, parts.path) == ("10.0.0.5", 554, "/live")
    assert url.inline
    assert CANARY not in repr(url)
    assert CANARY not in url.masked
    for text in (f"401 for {url.real}", f"user admin with a@b/{CANARY}", f"a%40b%2F{CANARY}", f"http://x:{CANARY}@y/z"):
        assert CANARY not in url.scrub(text)


def test_credentials_from_the_environment_and_from_a_file(tmp_path: Path) -> None:
    environ = {"TFPOSE_SOURCE_USER": "u", "TFPOSE_SOURCE_PASSWORD": "p:w"}
    url = parse_url("rtsp://host/x", environ=environ)
    assert (url.real, url.masked, url.inline) == ("rtsp://u:p%3Aw@host/x", "rtsp://***@host/x", False)
    file = tmp_path / "cred"
    file.write_text("file:pw\n")
    file.chmod(0o600)
    assert parse_url("rtsp://host/x", str(file), environ).real == "rtsp://file:pw@host/x"
    assert parse_url("rtsp://a:b@host/x", str(file), environ).real == "rtsp://a:b@host/x"
    assert parse_url("udp://127.0.0.1:99", environ=environ).real == "udp://127.0.0.1:99"


def test_a_credentials_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cred"
    file.write_text(f"u:{CANARY}")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="others") as caught:
        parse_url("rtsp://host/x", str(file), {})
    assert CANARY not in str(caught.value)
    for text in ("", "no colon"):
        file.write_text(text)
        file.chmod(0o600)
        with pytest.raises(UsageError):
            parse_url("rtsp://host/x", str(file), {})
    with pytest.raises(UsageError, match="No such file"):
        parse_url("rtsp://host/x", str(tmp_path / "none"), {})


@pytest.mark.parametrize(
    "text", [f"ftp://u:{CANARY}@host/x", f"rtsp:///{CANARY}?token={CANARY}", f"http://h:port{CANARY}/"]
)
def test_what_cannot_be_opened_is_said_without_secrets(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_url(text, environ={})
    assert caught.value.exit_code == 2
    assert f"token={CANARY}" not in str(caught.value)
    assert f"u:{CANARY}" not in str(caught.value)
