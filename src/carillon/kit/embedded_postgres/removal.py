"""Takes a stopped PostgreSQL away, wherever its data had to be placed."""

import shutil
from pathlib import Path

from carillon.kit.embedded_postgres.errors import explained
from carillon.kit.embedded_postgres.folder import claimed


def remove_embedded_postgres(data_dir: Path) -> None:
    """Delete the PostgreSQL data of `data_dir` for good, and nothing else in it; refused while it runs."""
    if not data_dir.exists():
        return
    with claimed(data_dir) as folder, explained(folder.path):
        home = folder.pointer.resolve()
        if folder.pointer.is_symlink():
            folder.pointer.unlink()
        if home.is_dir():
            shutil.rmtree(home)
        for leftover in (folder.identity_file, folder.log, folder.log.with_name("postgres.log.1")):
            leftover.unlink(missing_ok=True)
