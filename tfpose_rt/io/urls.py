"""Network addresses with secrets in them: parsed once, and shown, logged and raised only with the secrets masked."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from tfpose_rt.errors import UsageError
from tfpose_rt.files import read_text
from tfpose_rt.shell import quoted

SCHEMES = ("rtsp", "rtsps", "http", "https", "udp", "tcp", "srt", "rtmp")
MASK = "***"
SECRET_NAME = re.compile(r"token|key|pass|auth|sig|secret|pwd|cred", re.IGNORECASE)
PAIR = re.compile(r"([?&;][^=&;?]*)=([^&;]*)")
ANY_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """A network source.

    Args:
        scheme: lower case.
        masked: what may be stored, drawn, logged and raised.
        real: what is handed to FFmpeg and to nobody else; kept out of `repr`.
        secrets: the texts that must not appear anywhere, longest first.
        inline: whether a password stood in the address itself (shells keep history).
    """

    scheme: str
    masked: str
    real: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    inline: bool

    def scrub(self, text: str) -> str:
        """`text` (an error of a library, a log line) without this address's secrets, nor those of any other."""
        for secret in (self.real, *self.secrets):
            text = text.replace(secret, self.masked if secret == self.real else MASK)
        return mask_text(text)


def parse_url(text: str, credentials: str | None = None, environ: Mapping[str, str] | None = None) -> SourceUrl:
    """Read an address and join the user's credentials to it.

    Args:
        text: `rtsp://`, `http(s)://`, `udp://`, `tcp://`, `srt://`, with or without `user:password@`.
        credentials: path of a file with `user:password` on its first line, readable by its owner alone.
        environ: where TFPOSE_SOURCE_USER and TFPOSE_SOURCE_PASSWORD are looked up; the process's when None. The
            address's own credentials win over the file's, those over the environment's.
    Returns: the address.
    Raises: UsageError: another scheme, no host, or a credentials file that others can read.
    """
    environ = os.environ if environ is None else environ
    scheme, _, rest = text.strip().partition("://")
    scheme = scheme.lower()
    if scheme not in SCHEMES:
        raise UsageError(f"cannot read {mask(text)}", why=f"unknown scheme {scheme}", fix=", ".join(SCHEMES))
    user, password, where = _split(rest)
    inline = bool(user or password)
    if not inline and credentials:
        user, password = _from_file(Path(credentials))
    elif not inline:
        user, password = environ.get("TFPOSE_SOURCE_USER", ""), environ.get("TFPOSE_SOURCE_PASSWORD", "")
    if not re.match(r"@?(\[[0-9a-f:.%]+\]|[^/?#:]+)?(:\d{1,5})?([/?#]|$)", where, re.IGNORECASE) or where[:1] in "/?#":
        raise UsageError(f"cannot read {mask(text)}", why="no host and port in it", fix=f"{scheme}://host:port/path")
    if (user or password) and scheme in ("udp", "srt"):
        user = password = ""  # these have no user; an SRT passphrase stands in the query
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
    real = f"{scheme}://{login}{where}"
    secrets = {password, quote(password, safe=""), *_query_secrets(where), *((user,) if len(user) > 3 else ())} - {""}
    if login:
        secrets.add(login[:-1])
    return SourceUrl(scheme, mask(real), real, tuple(sorted(secrets, key=lambda s: (-len(s), s))), inline)


def mask(url: str) -> str:
    """One address with user, password and secret query values replaced by `***`; never raises.

    A password may hold unescaped `@`, `/` or `?`: when in doubt more is masked, never less.
    """
    scheme, divider, rest = url.partition("://")
    if not divider:
        return url
    where = rest.rpartition("@")[2] if "@" in rest[1:] else rest  # an "@" in a query costs the host: better than a leak
    login = where != rest
    where = PAIR.sub(lambda m: f"{m[1]}={MASK}" if SECRET_NAME.search(unquote(m[1])) else m[0], where.partition("#")[0])
    return f"{scheme}://{MASK + '@' if login else ''}{where}"


def mask_text(text: str) -> str:
    """A text with every address in it masked."""
    return ANY_URL.sub(lambda match: mask(match[0]), text)


def _split(rest: str) -> tuple[str, str, str]:
    """What follows `://` -> user, password, host and all behind it. Percent escapes of the first two are undone."""
    head = rest.partition("?")[0]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    cut = head.rfind("@")
    if cut < 0 and re.match(r"[^\[]*:(?!\d+$)", authority):  # "user:p?ss@host": not a port
        cut = rest.rfind("@")
    if cut <= 0:  # none, or "udp://@:1234", which means: listen
        return "", "", rest
    user, _, password = rest[:cut].partition(":")
    return unquote(user), unquote(password), rest[cut + 1 :]


def _query_secrets(where: str) -> list[str]:
    query = urlsplit("//" + where).query
    pairs = [pair.partition("=") for pair in re.split(r"[&;]", query)]
    values = [v for n, _, v in pairs if v and SECRET_NAME.search(unquote(n))]
    return values + [unquote(v) for v in values]


def _from_file(path: Path) -> tuple[str, str]:
    try:
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            why, fix = "others on this machine can read it", f"chmod 600 {quoted(path)}"
            raise UsageError(f"credentials file {path.name}", why=why, fix=fix)
        line = read_text(path).splitlines()[0]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "no text in it"
        raise UsageError(f"credentials file {path.name}", why=why, fix="one line: user:password") from error
    user, colon, password = line.partition(":")
    if not colon:
        raise UsageError(f"credentials file {path.name}", why="no colon on its first line", fix="user:password")
    return user, password
