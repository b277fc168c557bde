"""Takes a stopped PostgreSQL away, wherever its data had to be placed."""

import shutil
from asyncio import to_thread
from pathlib import Path

from carillon.kit.embedded_postgres.errors import explained
from carillon.kit.embedded_postgres.folder import DataFolder, claimed
from carillon.kit.embedded_postgres.home import is_copy
from carillon.kit.embedded_postgres.survivors import end_survivors


async def remove_embedded_postgres(data_dir: Path) -> None:
    """Delete the PostgreSQL data of `data_dir` for good, and nothing else in it; refused while it runs."""
    if not await to_thread(data_dir.exists):
        return
    with claimed(data_dir) as folder, explained(folder.path):
        home = folder.pointer.resolve()
        if not is_copy(folder, home):
            await end_survivors(home)
            await to_thread(shutil.rmtree, home, ignore_errors=not home.exists())
        await to_thread(_remove_files, folder)


def _remove_files(folder: DataFolder) -> None:
    if folder.pointer.is_symlink():
        folder.pointer.unlink()
    for leftover in (folder.identity_file, folder.log, folder.former_log):
        leftover.unlink(missing_ok=True)
