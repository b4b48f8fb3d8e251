"""The command line: one file a group of commands, no logic of its own."""

from graphopt.cli.app import app, main

__all__ = ["app", "main"]
