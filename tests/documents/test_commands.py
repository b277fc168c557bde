"""Every command, target and setting that a document names exists."""

import re
from fnmatch import fnmatchcase

import pytest

from carillon.cli import app
from carillon.kit.settings import in_file, variable
from carillon.process_settings import PlatformSettings
from carillon.services import SERVICES
from carillon.settings_table import rows
from tests.documents.reading import ROOT, Document, documents

_TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
_MAKE = re.compile(r"(?:^|[\s;&|(])make ([a-z][a-z-]*)")
_CARILLON = re.compile(r"(?:^|[\s;&|(]|bin/)carillon ([a-z][a-z-]*)(?: ([a-z_]+))?")
_SETTING = re.compile(r"CARILLON_[A-Z][A-Z_]*[A-Z](?:_[*…])?")
_OF_THE_COMPOSITION = {"CARILLON_IMAGE"}

each_document = pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)


@each_document
def test_every_make_target_named_exists(document: Document) -> None:
    targets = set(_TARGET.findall((ROOT / "Makefile").read_text()))

    named = {name for code in _commands(document) for name in _MAKE.findall(code)}

    assert named - targets == set()


@each_document
def test_every_carillon_command_named_exists(document: Document) -> None:
    named = [found for code in _commands(document) for found in _CARILLON.findall(code)]

    assert {name for name, _ in named} - set(app) == set()
    assert {argument for name, argument in named if name == "run" and argument} - set(SERVICES) == set()


@each_document
def test_every_setting_named_exists(document: Document) -> None:
    known = _settings() | _OF_THE_COMPOSITION
    known |= {in_file(name) for name in known}

    named = {name for code in _commands(document) for name in _SETTING.findall(code) if "<" not in code}

    assert {
        name for name in named if not any(fnmatchcase(setting, name.replace("…", "*")) for setting in known)
    } == set()


def _commands(document: Document) -> list[str]:
    """Code in backticks, and each line of the blocks that a shell would read."""
    lines = [line for block in document.blocks("sh", "bash", "console") for line in block.text.splitlines()]
    return [*document.inline_code(), *lines]


def _settings() -> set[str]:
    shared = {variable("", field) for entry in SERVICES.values() for field in entry.settings.__struct_fields__}
    platform = {variable("", field) for field in PlatformSettings.__struct_fields__}
    return {found.name for _, found in rows()} | shared | platform
