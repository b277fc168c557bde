"""`carillon send` on a real CSV: many rows, three of them bad, twice; and `carillon demo`."""

import re
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.fakes.fcm import FakeFcm
from tests.fakes.smtp import FakeSmtp
from tests.support.client import Client, connected
from tests.support.platform import CARILLON, Platform, all_in_one, clean_environment, towards

pytestmark = pytest.mark.timeout(300)
BAD = {10: "nobody,Nobody,1", 50: "short@example.com", 90: "a@example.com,A,9,more"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, smtp: FakeSmtp, fcm: FakeFcm) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("send")
    with all_in_one(folder, towards(smtp, fcm, folder)) as platform:
        yield platform


@pytest.fixture
async def client(alone: Platform) -> AsyncIterator[Client]:
    async with connected(alone) as client:
        yield client


def carillon(platform: Platform, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CARILLON, *arguments, "--url", platform.gateway],
        env=clean_environment(CARILLON_DATA_DIR=str(platform.data_dir), COLUMNS="200"),
        capture_output=True,
        text=True,
        timeout=250,
    )


def a_file(tmp_path: Path, code: str, rows: int) -> tuple[Path, list[str]]:
    """A heading and that many rows, of which the lines of BAD are bad; with the good addresses."""
    lines, good = ["email,name,order"], []
    for line in range(2, rows + 2):
        address = f"row{line}-{code}@example.com"
        lines.append(BAD.get(line, f"{address},Person {line},{line}"))
        if line not in BAD:
            good.append(address)
    file = tmp_path / "people.csv"
    file.write_text("\n".join(lines) + "\n")
    return file, good


@pytest.mark.parametrize("rows", [150, pytest.param(1000, marks=pytest.mark.slow)])
async def test_many_rows_with_three_bad_ones_sent_twice(
    client: Client, smtp: FakeSmtp, tmp_path: Path, rows: int
) -> None:
    code = await client.publish(body_text="Order {{ order }} for {{ name }}")
    file, good = a_file(tmp_path, code, rows)
    smtp.answers[rf"row77-{code}@.*"] = "550 5.1.1 no such mailbox"

    first = carillon(client.platform, "send", "--template", code, "--recipients", str(file))
    second = carillon(client.platform, "send", "--template", code, "--recipients", str(file))

    for told in (first, second):
        assert told.returncode == 1, told.stdout + told.stderr
        for line in BAD:
            assert f"line {line}: " in told.stdout
        counts = dict(re.findall(r"^(delivered|failed|bad rows)\s+(\d+)", told.stdout, re.MULTILINE))
        assert counts == {"delivered": str(rows - 4), "failed": "1", "bad rows": "3"}
        assert "550" in told.stdout
    assert f"{rows - 3} of these had been accepted before" in second.stdout
    received = Counter(mail.recipient for mail in smtp.mails)
    assert {received[address] for address in good if not address.startswith("row77-")} == {1}
    (mail,) = smtp.to(f"row2-{code}@example.com")
    assert mail.text.strip() == "Order 2 for Person 2"


async def test_a_person_who_opted_out_is_told_as_suppressed(client: Client, smtp: FakeSmtp, tmp_path: Path) -> None:
    code = await client.publish()
    user = await client.register(preferences={"email": False, "push": True})
    file = tmp_path / "one.csv"
    file.write_text(f"email\n{user['email']}\n")

    told = carillon(client.platform, "send", "--template", code, "--recipients", str(file))

    assert (told.returncode, smtp.to(user["email"])) == (0, [])
    assert "suppressed" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--template", "nowhere", "--recipients", "{file}"], "nowhere"),
        (["--template", "welcome", "--recipients", "{file}.missing"], "No such file"),
        (["--template", "welcome", "--recipients", "{file}", "--data-dir", "{file}.d"], "credentials.json"),
    ],
)
def test_what_cannot_be_sent_at_all_is_one_clear_line(
    alone: Platform, tmp_path: Path, arguments: list[str], says: str
) -> None:
    file = tmp_path / "one.csv"
    file.write_text("email\nada@example.com\n")

    told = carillon(alone, "send", *(argument.format(file=file) for argument in arguments))

    assert told.returncode == 1
    assert says in told.stdout + told.stderr
    assert "Traceback" not in told.stdout + told.stderr


def test_the_demo_sends_its_csv_and_points_at_the_mailbox(alone: Platform, smtp: FakeSmtp) -> None:
    told = carillon(alone, "demo")

    assert told.returncode == 0, told.stdout + told.stderr
    assert f"{alone.gateway}/mailbox" in told.stdout
    assert len(smtp.to("ada@example.com")) == 1
