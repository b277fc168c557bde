"""Decides where a cluster lives: in the data folder, or where the server's user can reach it when we are root."""

import hashlib
import json
import os
from pathlib import Path

from carillon.kit.embedded_postgres.errors import EmbeddedPostgresError
from carillon.kit.embedded_postgres.folder import DataFolder
from carillon.kit.embedded_postgres.identity import ServerUser, can_reach

SHELTERS = (Path("/var/lib/carillon"), Path("/var/tmp/carillon"))  # noqa: S108 -- used only when root owns it
OWNER_FILE = "owner.json"


def settle(folder: DataFolder, *, user: ServerUser) -> Path:
    """Return the real path of the folder that holds the cluster (made when missing), owned by `user`."""
    pointer = folder.pointer
    if pointer.is_symlink():
        return _follow(folder, user=user)
    if not pointer.exists() and user.borrowed and not _is_reachable(folder.path, user):
        return _shelter(folder, user=user)
    pointer.mkdir(mode=0o700, exist_ok=True)
    user.own(pointer)
    if user.borrowed and not _is_reachable(folder.path, user):
        raise EmbeddedPostgresError(
            f"user {user.name} cannot reach the PostgreSQL data in {pointer}; "
            "let others search the folders above it (chmod o+x), or move the data folder"
        )
    return pointer


def shelter_for_root() -> Path:
    """Return a folder that belongs to root and that every user can read."""
    for shelter in SHELTERS:
        try:
            shelter.mkdir(mode=0o755, parents=True, exist_ok=True)
            found = shelter.lstat()
        except OSError:
            continue
        if found.st_uid == 0 and not shelter.is_symlink() and os.access(shelter, os.W_OK):
            shelter.chmod(0o755)
            return shelter
    places = " nor ".join(str(shelter) for shelter in SHELTERS)
    raise EmbeddedPostgresError(f"root can use neither {places} to keep PostgreSQL's data; start as an ordinary user")


def write_owner(home: Path, folder: DataFolder) -> None:
    """Say in `home` whose it is: the data folder, its identity, and the folders above it (device, inode)."""
    above = {str(parent): _identity_of(parent) for parent in folder.path.parents}
    owner = {"data_dir": str(folder.path), "id": folder.identity().id, "above": above}
    draft = home / f"{OWNER_FILE}.draft"
    draft.write_text(json.dumps(owner))
    draft.replace(home / OWNER_FILE)


def read_owner(home: Path) -> dict[str, object]:
    """Read what `write_owner` wrote; empty when there is nothing readable."""
    try:
        found = json.loads((home / OWNER_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _follow(folder: DataFolder, *, user: ServerUser) -> Path:
    home = folder.pointer.resolve()
    owner = read_owner(home)
    if not owner:
        folder.pointer.unlink()
        return _shelter(folder, user=user)
    former = Path(str(owner.get("data_dir")))
    if former != folder.path and (former / folder.identity_file.name).exists():
        raise EmbeddedPostgresError(
            f"{folder.path} is a copy of {former}, whose PostgreSQL data stays in {home}; "
            f"remove {folder.path} to start anew, or use {former}"
        )
    write_owner(home, folder)
    return home


def _shelter(folder: DataFolder, *, user: ServerUser) -> Path:
    digest = hashlib.sha256(str(folder.path).encode()).hexdigest()[:12]
    home = shelter_for_root() / f"{digest}-{folder.identity().id}"
    home.mkdir(mode=0o700, exist_ok=True)
    write_owner(home, folder)
    user.own(home)
    folder.pointer.symlink_to(home)
    return home


def _is_reachable(path: Path, user: ServerUser) -> bool:
    """As `can_reach`, after making the data folder itself searchable: its files keep their own modes."""
    if not can_reach(path, user) and all(can_reach(parent, user) for parent in path.parents):
        path.chmod(path.stat().st_mode | 0o011)
    return can_reach(path, user)


def _identity_of(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_dev, found.st_ino]
