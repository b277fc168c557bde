"""A newcomer's first minutes with `carillon up`: what it prints works, and what goes wrong is one clear line."""

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.platform import CARILLON, clean_environment
from tests.support.processes import dies_with_parent, end, free_port

pytestmark = pytest.mark.timeout(180)
NOBODY = 65534
# Root becomes nobody, and may go on reading an interpreter and a checkout that stand under a private home,
# also where a program asks with access(2), which forgets capabilities unless told not to.
AS_NOBODY = [
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search", "--bounding-set=-all,+dac_read_search"),
    "--securebits=+no_setuid_fixup",
]


class Up:
    """A `carillon up` as a newcomer starts it."""

    def __init__(self, folder: Path, *, prefix: Sequence[str] = ()) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data_dir = folder / ".carillon"
        self.errors = (folder / "stderr").open("w+")
        self.process = subprocess.Popen(
            [*prefix, *CARILLON, "up", "--port", str(self.port), "--data-dir", str(self.data_dir)],
            cwd=folder,
            env=clean_environment(HOME=str(folder)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            preexec_fn=dies_with_parent(sign=signal.SIGTERM),  # noqa: PLW1509
        )

    def printed(self) -> str:
        """All that it prints until the line with curl."""
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line)
            if "curl" in line:
                return "".join(lines)
        raise AssertionError("".join(lines) + self.said())

    def said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()

    def get(self, path: str, token: str = "") -> Any:
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())["data"]


@contextlib.contextmanager
def started(folder: Path, *, prefix: Sequence[str] = ()) -> Iterator[Up]:
    up = Up(folder, prefix=prefix)
    try:
        yield up
    finally:
        end(up.process, within=40)
        up.errors.close()
        if up.process.stdout is not None:
            up.process.stdout.close()


def follow_the_printed_lines(up: Up) -> None:
    """Paste the curl, then look into the mailbox and at the timeline, as the lines say."""
    printed = up.printed()
    for shown in (up.url, f"{up.url}/docs", f"{up.url}/mailbox", str(up.data_dir / "credentials.json")):
        assert shown in printed
    credentials = json.loads((up.data_dir / "credentials.json").read_text())
    assert {"admin_email", "admin_password", "application_token"} <= set(credentials)
    assert stat.S_IMODE((up.data_dir / "credentials.json").stat().st_mode) == 0o600
    for secret in (credentials["admin_password"], credentials["application_token"]):
        assert secret not in printed + up.said()

    (curl,) = re.findall(r"^\s*(curl .*)$", printed, re.MULTILINE)
    answer = json.loads(subprocess.run(["bash", "-c", curl], check=True, capture_output=True, timeout=30).stdout)

    assert answer["success"], answer
    found = settled(up, answer["data"]["notification_id"], credentials["application_token"])
    assert found["status"] == "delivered", found
    mails = up.get(f"/mailbox/messages?to={credentials['admin_email']}")
    assert "Ada" in mails[0]["text"]
    assert f"{up.url}/docs" in mails[0]["text"]
    steps = up.get(f"/v1/notifications/{found['notification_id']}/timeline", credentials["application_token"])["steps"]
    assert [step["kind"] for step in steps][:2] == ["accepted", "queued"]
    assert steps[-1]["kind"] == "delivered"


def settled(up: Up, notification_id: str, token: str) -> Any:
    deadline = time.monotonic() + 30
    while True:
        found = up.get(f"/v1/notifications/{notification_id}", token)
        if found["status"] != "pending" or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_what_up_prints_works_when_pasted(tmp_path: Path) -> None:
    with started(tmp_path) as up:
        follow_the_printed_lines(up)


def test_ctrl_c_stops_everything_with_exit_code_0_and_a_new_start_keeps_the_state(tmp_path: Path) -> None:
    with started(tmp_path) as up:
        up.printed()
        before = (up.data_dir / "credentials.json").read_bytes()
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(40) == 0, up.said()
        assert up.said() == ""
    with started(tmp_path) as up:
        follow_the_printed_lines(up)
        assert (up.data_dir / "credentials.json").read_bytes() == before


def test_an_ordinary_user_can_run_it() -> None:
    with tempfile.TemporaryDirectory(prefix="carillon-", ignore_cleanup_errors=True) as name:
        folder, root = Path(name), os.geteuid() == 0
        if root:
            os.chown(folder, NOBODY, NOBODY)
        with started(folder, prefix=AS_NOBODY if root else ()) as up:
            follow_the_printed_lines(up)
            owners = {path.stat().st_uid for path in up.data_dir.rglob("*")}
        assert owners == {NOBODY if root else os.geteuid()}


def test_a_data_folder_under_a_private_home_works(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with started(home) as up:
        follow_the_printed_lines(up)


def test_a_busy_port_is_one_clear_line(tmp_path: Path) -> None:
    with started(tmp_path) as first:
        first.printed()
        second = subprocess.run(
            [*CARILLON, "up", "--port", str(first.port), "--data-dir", str(tmp_path / "other")],
            env=clean_environment(), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert "port" in second.stderr


def test_a_second_owner_of_the_data_folder_is_told_who_holds_it(tmp_path: Path) -> None:
    with started(tmp_path) as first:
        first.printed()
        second = subprocess.run(
            [*CARILLON, "up", "--port", "0", "--data-dir", str(first.data_dir)],
            env=clean_environment(), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert second.returncode == 1
        assert second.stderr.count("\n") == 1
        assert str(first.process.pid) in second.stderr


def test_a_data_folder_of_another_version_is_one_clear_line(tmp_path: Path) -> None:
    with started(tmp_path) as up:
        up.printed()
    version = next(Path(os.path.realpath(up.data_dir)).rglob("PG_VERSION"), None) or next(
        path for path in (up.data_dir / "postgres").resolve().rglob("PG_VERSION")
    )
    version.write_text("9.6\n")
    again = subprocess.run(
        [*CARILLON, "up", "--port", "0", "--data-dir", str(up.data_dir)],
        env=clean_environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert "9.6" in again.stderr


def test_a_bad_setting_is_one_clear_line_before_anything_starts(tmp_path: Path) -> None:
    wrong = subprocess.run(
        [*CARILLON, "up", "--data-dir", str(tmp_path / "data")],
        env=clean_environment(CARILLON_GATEWAY_ACCEPT_BATCH="lots"), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("carillon: CARILLON_GATEWAY_ACCEPT_BATCH: ")
    assert wrong.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_settings_are_listed_with_their_defaults() -> None:
    listed = subprocess.run(
        [*CARILLON, "settings"], env=clean_environment(), capture_output=True, text=True, timeout=60, check=True
    ).stdout
    for name in ("CARILLON_DATA_DIR", "CARILLON_GATEWAY_BROKER_URL", "CARILLON_EMAIL_WORKER_SMTP_URL"):
        assert name in listed
    assert sys.executable not in listed
