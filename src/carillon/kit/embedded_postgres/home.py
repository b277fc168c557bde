"""Decides where a cluster lives: in the data folder, or where the server's user can reach it when we are root."""

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from carillon.kit.embedded_postgres.errors import EmbeddedPostgresError
from carillon.kit.embedded_postgres.folder import DataFolder
from carillon.kit.embedded_postgres.identity import ServerUser, can_reach

SHELTERS = (Path("/var/lib/carillon"), Path("/var/tmp/carillon"))  # noqa: S108 -- used only when root owns it
OWNER_FILE = "owner.json"
LIFE_LINE = "data-folder.lock"
PRIVATE, SEARCHABLE = 0o700, 0o711


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a home is."""

    data_dir: Path
    id: str


def settle(folder: DataFolder, *, user: ServerUser) -> Path:
    """Return the real path of the folder that holds the cluster (made when missing).

    It stays ours: root lends the server's user the cluster inside, and never writes where that user may write.
    """
    pointer = folder.pointer
    if pointer.is_symlink() and read_owner(pointer) is None:  # what it led to was removed
        pointer.unlink()
    if pointer.is_symlink():
        return _follow(folder)
    reachable = not user.borrowed or _is_reachable(folder.path, user)
    if not pointer.exists() and not reachable:
        return _shelter(folder)
    if not reachable:
        raise EmbeddedPostgresError(
            f"user {user.name} cannot reach the PostgreSQL data in {pointer}; "
            "let others search the folders above it (chmod o+x), or move the data folder back"
        )
    if not pointer.exists():
        pointer.mkdir()
        pointer.chmod(SEARCHABLE if user.borrowed else PRIVATE)
    return pointer


def shelter_for_root() -> Path:
    """Return a folder that belongs to root and that every user can read."""
    for shelter in SHELTERS:
        try:
            shelter.mkdir(mode=0o755, parents=True, exist_ok=True)
            found = shelter.lstat()
            if found.st_uid == 0 and not shelter.is_symlink():
                shelter.chmod(0o755)
                return shelter
        except OSError:
            continue
    places = " nor ".join(str(shelter) for shelter in SHELTERS)
    raise EmbeddedPostgresError(f"root can use neither {places} to keep PostgreSQL's data; start as an ordinary user")


def write_owner(home: Path, folder: DataFolder, *, identity: str) -> None:
    """Say in `home` that it belongs to `folder` and that its superuser's password is the one of `identity`."""
    draft = home / f"{OWNER_FILE}.draft"
    draft.write_text(json.dumps({"data_dir": str(folder.path), "id": identity}))
    draft.replace(home / OWNER_FILE)


def read_owner(home: Path) -> Owner | None:
    """Read what `write_owner` wrote; None when there is nothing readable."""
    try:
        found = json.loads((home / OWNER_FILE).read_text())
        return Owner(Path(found["data_dir"]), found["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_copy(folder: DataFolder, home: Path) -> bool:
    """Tell whether `home` belongs to another data folder, of which `folder` is a copy."""
    owner = read_owner(home)
    if owner is None or owner.data_dir == folder.path:
        return False
    pointer = owner.data_dir / folder.pointer.name
    return pointer.is_symlink() and pointer.resolve() == home


def _follow(folder: DataFolder) -> Path:
    home = folder.pointer.resolve()
    owner = read_owner(home)
    if owner is None:
        raise EmbeddedPostgresError(f"{home / OWNER_FILE} is damaged; remove {folder.path} to start anew")
    if is_copy(folder, home):
        raise EmbeddedPostgresError(
            f"{folder.path} is a copy of {owner.data_dir}, whose PostgreSQL data stays in {home}; "
            f"remove {folder.path} to start anew, or use {owner.data_dir}"
        )
    _bind(home, folder, identity=owner.id)
    return home


def _bind(home: Path, folder: DataFolder, *, identity: str) -> None:
    """Tie `home` to the data folder: who it is, and a second name for its lock file.

    As long as that file has two names the data folder exists somewhere, be it moved. On another file system
    there can be no second name, and the home is kept for ever.
    """
    write_owner(home, folder, identity=identity)
    (home / LIFE_LINE).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (home / LIFE_LINE).hardlink_to(folder.lock_file)


def _shelter(folder: DataFolder) -> Path:
    """Make a home outside; its name holds the identity, so that a removed data folder never comes back to life."""
    identity = folder.identity().id
    digest = hashlib.sha256(os.fsencode(folder.path)).hexdigest()[:12]
    home = shelter_for_root() / f"{digest}-{identity}"
    home.mkdir(exist_ok=True)
    home.chmod(SEARCHABLE)
    _bind(home, folder, identity=identity)
    folder.pointer.symlink_to(home)
    return home


def _is_reachable(path: Path, user: ServerUser) -> bool:
    """As `can_reach`, after making the data folder itself searchable: its files keep their own modes."""
    if not can_reach(path, user) and all(can_reach(parent, user) for parent in path.parents):
        path.chmod(path.stat().st_mode | 0o011)
    return can_reach(path, user)
