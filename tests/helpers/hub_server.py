"""A stand-in for the Hugging Face hub: the HTTP API of creating a repository and committing files, on the loopback."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

TOKEN = "hf_of_the_test"


@dataclass
class Hub:
    """What the server has.

    Attributes:
        address: its URL.
        repos: files by path of every repository, after its last commit.
        created: the requests that created repositories.
        commits: messages of the commits.
        objects: content by hash, of large files.
        requests: method and path of each request.
    """

    address: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def download(self, repo: str, folder: Path) -> Path:
        """Write the files of a repository."""
        for name, content in self.repos[repo].items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Run a hub until the block ends."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self._body()
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self._answer({"error": "Invalid user token."}, 401)
            parts = self.path.partition("?")[0].strip("/").split("/")
            if parts == ["api", "repos", "create"]:
                return self._create(json.loads(body))
            if parts == ["api", "validate-yaml"]:
                return self._answer({"errors": [], "warnings": []})
            if parts[-1] == "batch":
                return self._large_files(json.loads(body))
            if parts[0] == "verify":
                return self._answer({})
            repo = "/".join(parts[2:4])
            if parts[4] == "preupload":
                files = json.loads(body)["files"]
                modes = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in files
                ]
                return self._answer({"files": modes})
            return self._commit(repo, [json.loads(line) for line in body.splitlines() if line])

        def do_PUT(self) -> None:
            hub.objects[self.path.rpartition("/")[2]] = self._body()
            self._answer({})

        def do_GET(self) -> None:
            self._body()
            self._answer({"error": "Repository not found"}, 404)

        def _create(self, request: dict[str, Any]) -> None:
            name = f"{request['organization']}/{request['name']}"
            answer = {"url": f"{hub.address}/{name}", "name": name}
            if request["organization"] != "me":
                self._answer({"error": "You don't have the rights"}, 403)
            elif name in hub.repos:
                self._answer({**answer, "error": "You already created it"}, 409)
            else:
                hub.created.append(request)
                hub.repos[name] = {}
                self._answer(answer)

        def _large_files(self, request: dict[str, Any]) -> None:
            objects = [
                {
                    **item,
                    "actions": {
                        "upload": {"href": f"{hub.address}/objects/{item['oid']}"},
                        "verify": {"href": f"{hub.address}/verify"},
                    },
                }
                for item in request["objects"]
            ]
            self._answer({"objects": objects, "transfer": "basic"})

        def _commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
            files: dict[str, bytes] = {}
            for line in lines:
                value = line["value"]
                if line["key"] == "header":
                    hub.commits.append(value["summary"])
                elif line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = hub.objects[value["oid"]]
            hub.repos[repo] |= files
            oid = f"{len(hub.commits):040x}"
            self._answer({"success": True, "commitOid": oid, "commitUrl": f"{hub.address}/{repo}/commit/{oid}"})

        def _body(self) -> bytes:
            hub.requests.append(f"{self.command} {self.path}")
            if self.headers.get("Transfer-Encoding") == "chunked":
                content = b""
                while size := int(self.rfile.readline(), 16):
                    content += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return content
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _answer(self, value: Any, status: int = 200) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
