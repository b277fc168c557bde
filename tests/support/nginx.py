"""The front door of compose on loopback: its own text on a real nginx, with ports in place of the replicas' names."""

import contextlib
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.packages import package
from tests.support.processes import end, spawn

_PROXY = Path(__file__).parents[2] / "deploy/proxy"
_SERVER = re.compile(r"^(?P<indent> +)server (?P<name>\w+):8000 (?P<options>.*)resolve;$", re.MULTILINE)
_PROGRAM = "usr/sbin/nginx"


@contextlib.contextmanager
def front_door(folder: Path, port: int, replicas: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """Its address; `replicas` are the ports of each service."""
    found = package("nginx", marker=_PROGRAM)
    folder.mkdir()
    (folder / "upstreams.conf").write_text(_upstreams(replicas))
    text = (_PROXY / "nginx.conf").read_text().replace("/tmp/", f"{folder}/")
    assert text.count("listen 8080;") == 1
    conf = folder / "nginx.conf"
    conf.write_text(text.replace("listen 8080;", f"listen 127.0.0.1:{port};"))
    log = folder / "log"
    command = [str(found.path(_PROGRAM)), "-p", str(folder), "-c", str(conf), "-e", "stderr", "-g", "daemon off;"]
    process = spawn(command, log=log, env=found.environment())
    try:
        _await(f"http://127.0.0.1:{port}/", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        end(process)


def _upstreams(replicas: Mapping[str, Sequence[int]]) -> str:
    text = (_PROXY / "upstreams.conf").read_text()

    def servers(at: re.Match[str]) -> str:
        return "\n".join(f"{at['indent']}server 127.0.0.1:{port} {at['options']};" for port in replicas[at["name"]])

    rendered, count = _SERVER.subn(servers, text)
    assert count == len(replicas)
    return re.sub(r"^resolver .*$", "", rendered, flags=re.MULTILINE)


def _await(url: str, log: Path, within: float = 20) -> None:
    deadline = time.monotonic() + within
    while True:
        try:
            urllib.request.urlopen(url, timeout=2)
        except urllib.error.HTTPError as answer:
            answer.close()
            return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
