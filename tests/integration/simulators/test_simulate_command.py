"""`carillon simulate` as users run it: one line when ready, a clean end, a clear word on bad flags."""

import signal
import smtplib
import socket
import subprocess
from pathlib import Path

import pytest

from carillon.kit.settings import SettingsError
from carillon.simulators.tool.command import app
from tests.support.processes import end
from tests.support.simulator import SIMULATE, simulator

SCRIPT = """
# everybody's first try is refused
{"do": "refuse", "code": 451, "text": "4.7.1 Greylisted", "times_each": 1}
"""


def send(port: int, to: str) -> int:
    """The code that ends the mail."""
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        try:
            client.sendmail("app@example.com", [to], "Subject: Hello\r\n\r\nHello\r\n")
        except smtplib.SMTPRecipientsRefused as refused:
            return int(refused.recipients[to][0])
        return 250


def test_a_script_is_followed_and_flags_come_after_it(tmp_path: Path) -> None:
    script = tmp_path / "rules.jsonl"
    script.write_text(SCRIPT)
    with simulator("smtp", "--rules", str(script), "--dead", "1", "--bodies", "--seed", "4", folder=tmp_path) as smtp:
        codes = [send(smtp.port, "ada@example.com") for _ in range(2)]

        assert codes == [451, 550]
        assert [entry["rule"] for entry in smtp.received()] == [2, 1]
        assert smtp.ask("GET", "/rules")["seed"] == 4
        assert smtp.ready["host"] == "127.0.0.1"


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", ["smtp", "fcm"])
def test_a_signal_ends_it_cleanly_with_clients_connected(tmp_path: Path, kind: str, sign: signal.Signals) -> None:
    flags = ["--account-file", str(tmp_path / "account.json")] if kind == "fcm" else []
    with simulator(kind, *flags, folder=tmp_path) as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=10):
            end(running.process, sign=sign)
        assert running.process is not None
        assert running.process.returncode == 0
        assert running.log.read_text().count("\n") == 1


def test_killed_and_started_again_it_serves_on_the_same_port_with_the_same_choices(tmp_path: Path) -> None:
    with simulator("smtp", "--refuse", "451:0.5", "--seed", "8", folder=tmp_path) as smtp:
        before = [send(smtp.port, "ada@example.com") for _ in range(12)]
        end(smtp.process, sign=signal.SIGKILL)
        smtp.start()
        after = [send(smtp.port, "ada@example.com") for _ in range(12)]

    assert before == after
    assert set(before) == {250, 451}


def test_the_push_simulators_account_outlives_it(tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    with simulator("fcm", "--account-file", str(account), folder=tmp_path) as fcm:
        made = account.read_text()
        end(fcm.process, sign=signal.SIGKILL)
        fcm.start()

        assert account.read_text() == made
        assert fcm.ready["account_file"] == str(account)
        assert fcm.ready["url"] in made
    assert account.stat().st_mode & 0o777 == 0o600


def test_a_bad_flag_and_a_port_that_is_taken_are_one_line_and_code_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        of_flag, of_port = (
            subprocess.run([*SIMULATE, "smtp", *flags], capture_output=True, text=True, timeout=60)
            for flags in (["--refuse", "550"], ["--port", str(taken.getsockname()[1])])
        )

    assert [(done.returncode, done.stdout, done.stderr.count("\n")) for done in (of_flag, of_port)] == [(1, "", 1)] * 2
    assert of_flag.stderr == "carillon: simulate smtp: --refuse 550: the share is missing, as in 550:0.05.\n"
    assert "Address already in use" in of_port.stderr


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["smtp", "--rules", "bad.jsonl"], "line 2: code: Expected `int` >= 400"),
        (["smtp", "--rules", "binary"], "no UTF-8 text"),
        (["smtp", "--gateway", "http://127.0.0.1:8000"], "belong together"),
        (["smtp", "--token-file", "words"], "belong together"),
        (["smtp", "--gateway", "nowhere", "--token-file", "words"], "is an address as in"),
        (["smtp", "--gateway", "http://[", "--token-file", "words"], "is an address as in"),
        (["smtp", "--gateway", "http://127.0.0.1:8000", "--token-file", "words"], "holds no token"),
        (["smtp", "--gateway", "http://127.0.0.1:8000", "--token-file", "binary"], "holds no token"),
        (["fcm", "--hang", "during:1"], "during is for drop"),
        (["fcm", "--refuse", "429:1", "--retry-after", "-1"], "retry_after: Expected `int` >= 0"),
    ],
)
def test_bad_flags_and_scripts_say_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.jsonl").write_text('{"do": "accept"}\n{"do": "refuse", "code": 200}\n')
    Path("binary").write_bytes(b"\xff\xfe\x00")
    Path("words").write_text("two words")

    with pytest.raises(SettingsError) as raised:
        app(flags)

    assert says in str(raised.value)
    assert not Path("fcm-simulator.json").exists()
