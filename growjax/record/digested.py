"""Files that people read, with their digests beside them, so that damage to one is found like damage to a record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from growjax.config import canonical_json
from growjax.errors import UserError
from growjax.files import write_text
from growjax.record.checksums import read_checked, with_checksum
from growjax.record.reader import file_digest

PAGES = {"digests.json": "index.html", "audit-digests.json": "audit.html"}
"""By file of digests: the page that it vouches for, with the files that belong to that."""


def write_with_digests(folder: Path, files: Mapping[str, str], *, digests: str = "digests.json") -> list[Path]:
    """Writes files by their names under a folder, each whole or not at all, and then their digests into the file of
    that name; returns their paths."""
    found = {}
    for name, text in sorted(files.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(folder / name, text)
        found[name] = file_digest(folder / name)
    write_text(folder / digests, canonical_json(with_checksum({"files": found})) + "\n")
    return [folder / name for name in found]


def damage(folder: Path, *which: str) -> list[str]:
    """What is wrong with the pages of a folder and what belongs to them, a line for each; of these files of digests
    alone, if any are named."""
    found = []
    for digests, page in ((name, page) for name, page in PAGES.items() if name in which or not which):
        if (folder / page).exists() and not (folder / digests).exists():
            found.append(f"{folder / digests} is gone")
        recorded = _recorded(folder / digests)
        if recorded is None or (recorded and page not in recorded):
            found.append(f"{folder / digests} is damaged")
            continue
        for name, digest in recorded.items():
            path = folder / name
            if not path.exists():
                found.append(f"{path} is gone")
            elif not path.is_file() or file_digest(path) != digest:
                found.append(f"{path} is damaged")
    return found


def _recorded(path: Path) -> dict[str, str] | None:
    """Digests by name; none where there is no such file, None where it is damaged, or names what lies elsewhere."""
    try:
        record = read_checked(path)
    except FileNotFoundError:
        return {}
    except UserError:
        return None
    files = record.get("files") if record else None
    if not isinstance(files, dict) or any(".." in Path(name).parts or Path(name).is_absolute() for name in files):
        return None
    return cast(dict[str, str], files)
