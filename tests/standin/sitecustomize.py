"""Puts a scripted pipeline in the place of ``sosp_core.pipeline``, wherever this directory is on the path."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

NAME = "sosp_core.pipeline"


class StandIn(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != NAME:
            return None
        return importlib.util.spec_from_file_location(name, Path(__file__).with_name("pipeline.py"))


sys.meta_path.insert(0, StandIn())
