"""The part of the Hugging Face hub's interface that huggingface_hub needs to upload and download, on this machine."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Repositories in memory: ``files`` has the content of each file by repository and path."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.downloaded: list[str] = []
        self.offline = False  # whether every request is refused
        handler = type("Handler", (HubHandler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> "HubServer":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class HubHandler(BaseHTTPRequestHandler):
    """Answers for repositories of models."""

    hub: HubServer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def answer(self, status: int, body: Any, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def missing(self) -> None:
        self.answer(404, {"error": "not found"}, X_Error_Code="RepoNotFound")

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.hub.offline:
            self.answer(503, {"error": "offline"})
        elif path.startswith("/api/models/"):
            self.about("/".join(path.split("/")[3:5]), path)
        else:
            owner, name, _, _, *parts = path.split("/")[1:]
            self.file(f"{owner}/{name}", "/".join(parts))

    do_HEAD = do_GET  # noqa: N815

    def about(self, repository: str, path: str) -> None:
        """What the repository is, or the list of its files."""
        files = self.hub.files.get(repository)
        if files is None:
            self.missing()
        elif "/tree/" in path:
            self.answer(200, [{"type": "file", "path": p, "size": len(b), "oid": oid(b)} for p, b in files.items()])
        else:
            self.answer(200, {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]})

    def file(self, repository: str, name: str) -> None:
        data = self.hub.files.get(repository, {}).get(name)
        if data is None:
            self.missing()
            return
        self.hub.downloaded.append(name)
        self.answer(200, data, ETag=f'"{oid(data)}"', X_Repo_Commit=COMMIT)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        if path.endswith("/repos/create"):
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'somebody'}/{asked['name']}"
            self.hub.files.setdefault(name, {})
            self.answer(200, {"url": f"{self.hub.url}/{name}"})
        elif path.endswith("/validate-yaml"):
            self.answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in path:
            asked = json.loads(body)["files"]
            found = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in asked]
            self.answer(200, {"files": found})
        else:
            self.commit("/".join(path.split("/")[3:5]), [json.loads(line) for line in body.splitlines()])

    def commit(self, repository: str, operations: list[dict[str, Any]]) -> None:
        files = self.hub.files.setdefault(repository, {})
        for operation in operations:
            if operation["key"] == "file":
                files[operation["value"]["path"]] = base64.b64decode(operation["value"]["content"])
        url = f"{self.hub.url}/{repository}/commit/{COMMIT}"
        self.answer(200, {"commitUrl": url, "commitOid": COMMIT, "pullRequestUrl": None})


def oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
