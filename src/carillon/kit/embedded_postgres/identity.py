"""Whom the server runs as: PostgreSQL refuses root, so root lends it an unprivileged user that exists already."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from carillon.kit.embedded_postgres.errors import OTHER_FOLDER, EmbeddedPostgresError

UNPRIVILEGED_USERS = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The account of the server; `borrowed` when we are root and have to become it."""

    name: str
    uid: int
    gid: int
    borrowed: bool

    def own(self, path: Path) -> None:
        if self.borrowed:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def choose_server_user(cluster: Path) -> ServerUser:
    """Choose the owner of an existing `cluster`, else ourselves, else (as root) an unprivileged user."""
    owner = cluster.stat().st_uid if cluster.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner != os.geteuid():
            raise EmbeddedPostgresError(
                f"the PostgreSQL data in {cluster} belongs to user {_name(owner)}; start as that user or {OTHER_FOLDER}"
            )
        return ServerUser(_name(os.geteuid()), os.geteuid(), os.getegid(), borrowed=False)
    entry = _entry_of(owner) if owner else _first_unprivileged()
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid, borrowed=True)


def check_has_name(user: ServerUser) -> None:
    """Refuse a user that the system knows by number only: initdb does not work for it."""
    try:
        pwd.getpwuid(user.uid)
    except KeyError:
        raise EmbeddedPostgresError(
            f"user {user.uid} has no name on this system and PostgreSQL needs one to make its data folder; "
            "add it to /etc/passwd or start as another user"
        ) from None


def can_reach(path: Path, user: ServerUser) -> bool:
    """Whether the permission bits let `user` enter every folder down to `path` and read it."""
    return all(_may_enter(folder.stat(), user) for folder in (path, *path.parents))


def _may_enter(found: os.stat_result, user: ServerUser) -> bool:
    if found.st_uid == user.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == user.gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)


def _first_unprivileged() -> pwd.struct_passwd:
    for name in UNPRIVILEGED_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root and there is no user 'postgres' or 'nobody' to run it as; "
        "start as an ordinary user"
    )


def _entry_of(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return pwd.struct_passwd((str(uid), "x", uid, uid, "", "/", "/bin/false"))


def _name(uid: int) -> str:
    return _entry_of(uid).pw_name
