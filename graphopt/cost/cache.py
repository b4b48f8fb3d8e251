"""Where prices are kept: one SQLite file in the cache folder, so that a kill loses at most the price being written."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

from graphopt.errors import GraphoptError


def cache_folder() -> Path:
    """Exports and prices that later runs use again: $GRAPHOPT_CACHE, or graphopt in the user's cache folder."""
    chosen = os.environ.get("GRAPHOPT_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(chosen) if chosen else base / "graphopt"


class CostCache:
    """Prices and kernel facts by key, kept on disk. `hits` and `misses` count the look-ups of this process.

    `lowered` holds, for this process alone, graphs that TVM has lowered: the next target needs them again; `tuned` the
    tuning databases that it has read. The same folder holds these databases (`tuning/`).
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.hits = 0
        self.misses = 0
        self.lowered: dict[str, Any] = {}
        self.tuned: dict[str, Any] = {}
        path = self.folder / "prices.sqlite"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute("CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        except (sqlite3.Error, OSError) as error:
            raise GraphoptError(f"price cache {path} cannot be used ({error}); delete it to start afresh") from error

    def get(self, key: str) -> Any | None:
        """The value under `key`, or None."""
        row = self._database.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
        if row is None:
            self.misses += 1
            return None
        self.hits += 1
        return json.loads(row[0])

    def put(self, key: str, value: Any) -> None:
        """Writes `value` (anything JSON can hold) at once."""
        self._database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", (key, json.dumps(value)))
