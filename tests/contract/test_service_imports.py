"""What the API, the client and the command line must not load, and how fast the command answers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "onnx", "onnxruntime", "numpy", "onnx2torch", "worker")
SERVER_ONLY = ("fastapi", "celery", "uvicorn", "sqlalchemy")


def loaded_by(statement: str, names: tuple[str, ...]) -> list[str]:
    code = f"import sys; {statement}; print(*[n for n in {names!r} if n in sys.modules])"
    return subprocess.check_output([sys.executable, "-c", code], text=True).split()


def test_the_service_loads_no_numerical_library_and_no_worker() -> None:
    assert loaded_by("import service.app, service.client, service.cli.main, service.embedded", HEAVY) == []


def test_the_client_loads_no_server() -> None:
    assert loaded_by("import service.client", SERVER_ONLY) == []


def test_the_command_loads_neither_server_nor_client_before_it_needs_them() -> None:
    assert loaded_by("import service.cli.main", (*SERVER_ONLY, "httpx", "pydantic")) == []


def test_a_worker_loads_numerical_libraries_only_in_the_job() -> None:
    names = ("torch", "onnx", "onnxruntime", "numpy")
    assert loaded_by("import worker.app, worker.supervisor, worker.child", names) == []


@pytest.mark.parametrize("package", ["service", "worker"])
def test_imports_keep_the_layers(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.partition(".")[0]
                assert package != "service" or top != "worker", f"{path} imports {name}"
                below_jobs = "jobs" in path.relative_to(ROOT).parts[1:-1]
                assert not (below_jobs and top in {"fastapi", "starlette", "uvicorn"}), (
                    f"{path} imports {name}"
                )


def test_nothing_is_read_or_opened_at_import(tmp_path: Path) -> None:
    code = "import service.app, worker.app, worker.__main__"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={"HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []
