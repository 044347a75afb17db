"""Takes out of a text what tells who and where, before it is shown to strangers."""

from __future__ import annotations

import getpass
import re
import socket
from pathlib import Path


def redact(text: str) -> str:
    """Replace what tells who and where: home folder, user name, host name, URLs, e-mail and IP addresses."""
    text = re.sub(r"\b[a-z][a-z0-9+.-]*://\S+", "<url>", text, flags=re.IGNORECASE)
    text = re.sub(r"\b[\w.+-]+@[\w-]+\.[\w.]+\b", "<address>", text)
    text = re.sub(r"(?<![=\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])", "<address>", text)
    for secret, mask in ((str(Path.home()), "~"), (_user(), "<user>"), (socket.gethostname(), "<host>")):
        if len(secret) > 1:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", mask, text)
    return text


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user in this container; nor in a service of Windows
        return ""
