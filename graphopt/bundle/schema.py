"""Writes `schema.json` anew: python -m graphopt.bundle.schema"""

from __future__ import annotations

from graphopt.atomic import write_json
from graphopt.bundle.manifest import SCHEMA_FILE, json_schema

if __name__ == "__main__":
    write_json(SCHEMA_FILE, json_schema())
