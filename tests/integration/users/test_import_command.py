"""`carillon users import` on files with good and bad lines, run twice."""

import json
from pathlib import Path

import asyncpg
import pytest

from carillon.importing.job import import_file
from tests.integration.users.client import PASSWORD, UsersApi
from tests.integration.users.test_importing import FOUR_GIB, HASHES

CSV = f"""email,name,password_hash,verified,attributes
ada@example.com,Ada,{HASHES["bcrypt"]},true,"{{""plan"": ""pro""}}"
no address,Nobody,,,
eve@example.com,Eve,"{FOUR_GIB}",,
bob@example.com,Bob,{HASHES["bcrypt"]},perhaps,
short@example.com
grace@example.com,"Grace
Hopper",,,
"""


@pytest.mark.parametrize("form", ["csv", "jsonl"])
async def test_good_lines_are_taken_bad_ones_told_and_a_second_run_doubles_nobody(
    api: UsersApi, sql: asyncpg.Connection, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    file = tmp_path / f"people.{form}"
    if form == "csv":
        file.write_text(CSV)
        bad = {3, 4, 5, 6, 8}
    else:
        good = {"email": "ada@example.com", "password_hash": HASHES["bcrypt"], "attributes": {"plan": "pro"}}
        eve = {"email": "eve@example.com", "password_hash": FOUR_GIB}
        file.write_text("\n".join([json.dumps(good), "{broken", "", json.dumps(eve), '{"mail": 1}', "[" * 100_000]))
        bad = {2, 4, 5, 6}
    url = str(api.session._base_url)

    codes, said = [], []
    for _ in range(2):
        codes.append(await import_file(file, url=url, credentials=tmp_path / "credentials.json"))
        said.append(capsys.readouterr())

    assert codes == [1, 1]
    assert {int(line[5:].partition(":")[0]) for line in said[0].err.splitlines() if line.startswith("line ")} == bad
    assert said[0].out.split()[-6:] == ["made", "1", "there", "0", "refused", str(len(bad))]
    assert said[1].out.split()[-6:] == ["made", "0", "there", "1", "refused", str(len(bad))]
    assert (await api.log_in("ada@example.com", PASSWORD)).status == 200
    assert await sql.fetchval("SELECT attributes ->> 'plan' FROM users.users WHERE email = 'ada@example.com'") == "pro"
