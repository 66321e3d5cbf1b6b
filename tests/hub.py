"""A small Hugging Face Hub on this machine: the routes that the libraries call, over folders of files.

``ROOT/models/OWNER/NAME`` and ``ROOT/datasets/OWNER/NAME`` are its repositories. Bare names redirect to where they
moved, as on the real one.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "1234567890abcdef1234567890abcdef12345678"
MOVED = {
    ("models", "bert-base-cased"): "google-bert/bert-base-cased",
    ("datasets", "imdb"): "stanfordnlp/imdb",
}
API = re.compile(r"/api/(models|datasets)/(?P<repo>[^/]+/[^/]+|[^/]+?)(?P<rest>/(revision|tree|paths-info)/.*)?")
FILE = re.compile(r"/(datasets/)?(?P<repo>[^/]+/[^/]+|[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")

RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Hub:
    """A running endpoint."""

    root: Path
    url: str = ""
    gated: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)

    def environment(self, cache: Path) -> dict[str, str]:
        """What makes the libraries use it, with a cache of its own."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(cache), "XDG_CACHE_HOME": str(cache)}


@contextmanager
def running(root: Path) -> Iterator[Hub]:
    """Serve `root` while the block lasts."""
    hub = Hub(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    """The request handler for `hub`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, format: str, *args: Any) -> None:
            hub.requests.append(f"{self.command} {self.path}")

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = self.rfile.read(length).decode()
            path = unquote(urlsplit(self.path).path)
            api, file = API.fullmatch(path), FILE.fullmatch(path)
            if api is not None:
                self._repository(api.group(1), api["repo"], api["rest"] or "", sent, path)
            elif file is not None:
                kind = "datasets" if path.startswith("/datasets/") else "models"
                self._file(kind, file["repo"], file["revision"], file["path"], path)
            else:
                self._send(404, {"error": "not found"})

        def _found(self, kind: str, repo: str, path: str) -> Path | None:
            """The folder of a repository; None where the answer is given already."""
            if (kind, repo) in MOVED:
                target = path.replace(repo, MOVED[kind, repo], 1)
                self._send(307, {}, {"Location": target})
                return None
            if repo in hub.gated:
                self._send(403, {"error": "restricted"}, {"X-Error-Code": "GatedRepo"})
                return None
            folder = hub.root / kind / repo
            if not folder.is_dir():
                self._send(404, {"error": "no such repository"}, {"X-Error-Code": "RepoNotFound"})
                return None
            return folder

        def _repository(self, kind: str, repo: str, rest: str, sent: str, path: str) -> None:
            folder = self._found(kind, repo, path)
            if folder is None:
                return
            _, what, revision, *inside = (rest or "/revision/main").split("/", 3)
            if revision not in ("main", COMMIT):
                self._send(404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"})
                return
            files = {str(f.relative_to(folder)): f for f in sorted(folder.rglob("*")) if f.is_file()}
            if what == "revision":
                siblings = [{"rfilename": name} for name in files]
                info = {"id": repo, "sha": COMMIT, "siblings": siblings, "private": False, "gated": False, "tags": []}
                self._send(200, {**info, "downloads": 0, "likes": 0, "lastModified": "2026-01-01T00:00:00.000Z"})
            elif what == "tree":
                recursive = "recursive=true" in self.path.lower()
                self._tree(folder, inside[0] if inside else "", recursive=recursive)
            else:
                asked = parse_qs(sent).get("paths", [])
                self._send(200, listing({n: f for n, f in files.items() if n in asked}))

        def _tree(self, folder: Path, inside: str, *, recursive: bool) -> None:
            if not (folder / inside).is_dir():
                self._send(404, {"error": "no such folder"}, {"X-Error-Code": "EntryNotFound"})
                return
            found = sorted((folder / inside).rglob("*") if recursive else (folder / inside).iterdir())
            self._send(200, listing({str(f.relative_to(folder)): f for f in found}))

        def _file(self, kind: str, repo: str, revision: str, name: str, path: str) -> None:
            folder = self._found(kind, repo, path)
            if folder is None:
                return
            if revision not in ("main", COMMIT):
                self._send(404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"})
            elif not (folder / name).is_file():
                self._send(404, {"error": "no such file"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            else:
                content = (folder / name).read_bytes()
                headers = {"ETag": f'"{digest(content)}"', "X-Repo-Commit": COMMIT}
                asked = RANGE.fullmatch(self.headers.get("Range") or "")
                if asked is None:
                    self._send(200, content, headers)
                    return
                start, end = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
                headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
                self._send(206, content[start : end + 1], headers)

        def _send(self, code: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(code)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    return Handler


def listing(files: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Files as the tree API lists them."""
    return [
        {"type": "file", "path": name, "size": file.stat().st_size, "oid": digest(file.read_bytes())}
        if file.is_file()
        else {"type": "directory", "path": name, "size": 0, "oid": digest(name.encode())}
        for name, file in files.items()
    ]


def digest(content: bytes) -> str:
    """A file's identity."""
    return hashlib.sha1(content).hexdigest()
