"""A push provider that speaks FCM HTTP v1 and knows no token that starts with `unregistered`."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

PROJECT = "carillon-tests"


@dataclass
class FakeFcm:
    url: str = ""
    pushes: list[dict[str, Any]] = field(default_factory=list)

    def to(self, token: str) -> list[dict[str, Any]]:
        return [push for push in self.pushes if push.get("token") == token]

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if path.endswith("/token"):
            return 200, {"access_token": "fcm-access", "expires_in": 3600, "token_type": "Bearer"}
        message = json.loads(body)["message"]
        if message["token"].startswith("unregistered"):
            detail = {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "UNREGISTERED"}
            return 404, {"error": {"code": 404, "status": "NOT_FOUND", "message": "gone", "details": [detail]}}
        self.pushes.append(message)
        return 200, {"name": f"projects/{PROJECT}/messages/{len(self.pushes)}"}


@contextlib.contextmanager
def fake_fcm() -> Iterator[FakeFcm]:
    fake = FakeFcm()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            status, answer = fake.answer(self.path, self.rfile.read(int(self.headers.get("Content-Length", 0))))
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join(5)


def write_service_account(path: Path, token_uri: str) -> None:
    """A service account as the provider hands it out, with a fresh key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "tests",
        "private_key": pem,
        "client_email": f"carillon@{PROJECT}.test",
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(account))
