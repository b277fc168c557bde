"""What docs/howto/other-languages.md shows runs: a client that a public generator makes from the OpenAPI document."""

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.documents.reading import document
from tests.fakes.smtp import FakeSmtp
from tests.support.client import connected
from tests.support.node import NODE, NPM
from tests.support.platform import Platform, clean_environment

PAGE = document("docs/howto/other-languages.md")


def programs(folder: Path) -> Path:
    """`node`, `npm` and `npx` where a shell finds them."""
    folder.mkdir()
    npm = Path(NPM[1])
    for name, command in {"npm": NPM, "npx": (NODE, str(npm.with_name("npx-cli.js"))), "node": (NODE,)}.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        (folder / name).chmod(0o700)
    return folder


def run(commands: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-e", "-c", commands], cwd=folder, env=environment, capture_output=True, text=True, timeout=250
    )


@pytest.mark.slow
@pytest.mark.timeout(300)  # it fetches the generator
async def test_a_generated_client_notifies_and_reads_what_became_of_it(
    one_process: Platform, smtp: FakeSmtp, tmp_path: Path
) -> None:
    async with connected(one_process) as client:
        person = await client.register(email="typed@example.com")
    [program], [commands] = PAGE.blocks("ts"), PAGE.blocks("sh")
    (tmp_path / "notify.mts").write_text(program.text)
    environment = clean_environment(
        URL=one_process.gateway,
        TOKEN=one_process.credentials["application_token"],
        USER_ID=person["user_id"],
        npm_config_ignore_scripts="true",
    )
    environment["PATH"] = f"{programs(tmp_path / 'bin')}:{environment['PATH']}"

    told = run(commands.text, tmp_path, environment)

    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.splitlines()[-1] == "delivered"
    assert len(smtp.to("typed@example.com")) == 1
