"""Whether the Hugging Face Hub answers, and what to do where it does not."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

PATIENCE = 10.0
"""Seconds the Hub may take to answer."""
_NETWORK = (ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError)
_CLIENTS = frozenset({"httpx", "httpcore", "requests", "urllib"})


def endpoint() -> str:
    """Where the Hub is (HF_ENDPOINT)."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def reachable() -> bool:
    """Whether the Hub answers at all. The libraries try for half a minute before they look into their cache."""
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and _answers(endpoint())


@cache
def _answers(url: str) -> bool:
    from huggingface_hub import get_session

    try:
        get_session().head(url, timeout=PATIENCE)
    except Exception as error:
        if is_unreachable(error):
            return False
        raise
    return True


@contextmanager
def as_reachable() -> Iterator[bool]:
    """The libraries' offline mode inside where the Hub does not answer; gives whether it does."""
    from huggingface_hub import constants

    before, online = constants.HF_HUB_OFFLINE, reachable()
    try:
        constants.HF_HUB_OFFLINE = before or not online
        yield online
    finally:
        constants.HF_HUB_OFFLINE = before


def is_unreachable(error: BaseException) -> bool:
    """True where a connection failed anywhere down the chain of causes."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        # Versions of the client go by names of their own (httpx2).
        package = type(current).__module__.partition(".")[0].rstrip("0123456789")
        if isinstance(current, _NETWORK) or package in _CLIENTS:
            return True
        if type(current).__name__ in {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "HfHubHTTPError"}:
            return True
        current = current.__cause__ or current.__context__
    return False
