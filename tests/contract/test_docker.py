"""The container files, as far as they can be held to account without building an image."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from uvicorn.main import main as uvicorn

from service.cli.main import app
from service.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ["api", "worker-cpu", "worker-gpu"]
DOCKERFILES = ["docker/api.Dockerfile", "docker/worker.Dockerfile"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SETTINGS = {f"SOSP_{name.upper()}" for name in Settings.model_fields}
# The address inside the container is part of the command; the one outside is API_BIND and API_PORT.
FIXED_BY_COMMAND = {"SOSP_HOST", "SOSP_PORT"}
# Of Uvicorn; nobody is believed unless named.
BELIEVED = "${FORWARDED_ALLOW_IPS:-}"

Instruction = tuple[str, str]


def instructions(path: str) -> list[Instruction]:
    """A Dockerfile without comments and line breaks."""
    kept = [line for line in (ROOT / path).read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(kept).replace("\\\n", " ")
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines())
        if word
    ]


def arguments(path: str, word: str) -> list[str]:
    return [rest for found, rest in instructions(path) if found == word]


def final_stage(path: str) -> list[Instruction]:
    found = instructions(path)
    return found[max(i for i, (word, _) in enumerate(found) if word == "FROM") :]


def health_command(path: str) -> list[str]:
    [check] = arguments(path, "HEALTHCHECK")
    return list(yaml.safe_load(check.partition("CMD ")[2]))


def assert_runs_here(command: list[str]) -> None:
    """The program exists in our environment and has the parts the command names."""
    match command:
        case ["sosp", name]:
            assert PROJECT["scripts"]["sosp"] == "service.cli.main:main"
            assert name in typer.main.get_command(app).commands
        case ["uvicorn", "--factory", target, *options]:
            assert any(name.startswith("uvicorn") for name in PROJECT["dependencies"])
            module, _, attribute = target.partition(":")
            assert callable(getattr(importlib.import_module(module), attribute))
            uvicorn.make_context("uvicorn", ["--factory", target, *options])
        case ["python", "-P", script, *_]:
            assert (ROOT / "docker" / Path(script).name).is_file()
        case _:
            pytest.fail(f"what does {command} run?")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_confined_and_watched(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["init"] is True
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["stop_grace_period"] == "90s"
    assert service["mem_limit"]
    assert any(mount.startswith("/tmp:size=") for mount in service["tmpfs"])
    assert int(service["user"].partition(":")[0]) > 0
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert "privileged" not in service
    assert "cap_add" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_services_start_after_what_they_need_is_healthy(name: str) -> None:
    needed = {"redis": set(), "postgres": set(), "flower": {"redis"}, "api": {"redis", "postgres"}}.get(
        name, {"redis", "postgres", "api"}
    )
    depends = SERVICES[name].get("depends_on", {})
    assert depends.keys() == needed
    assert all(condition == {"condition": "service_healthy"} for condition in depends.values())


def test_only_the_api_is_published_and_only_to_this_host() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "api": ["${API_BIND:-127.0.0.1}:${API_PORT:-8000}:8000"],
        "flower": ["127.0.0.1:${FLOWER_PORT:-5555}:5555"],
    }
    assert COMPOSE["networks"]["backend"] == {"internal": True}
    outside = {name for name, service in SERVICES.items() if service["networks"] != ["backend"]}
    assert outside == set(published)


def test_a_profile_chooses_the_worker() -> None:
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    optional = {"worker-cpu": ["cpu"], "worker-gpu": ["gpu"], "flower": ["monitoring"]}
    assert profiles == {"api": [], "redis": [], "postgres": [], **optional}
    [device] = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_a_job_for_one_kind_of_worker_goes_to_no_other(kind: str) -> None:
    told = SERVICES[f"worker-{kind}"]["environment"]["SOSP_QUEUES"]
    assert told == f"${{SOSP_QUEUES:-any,{kind}}}"


def test_api_and_workers_share_data_and_settings() -> None:
    for name in OURS:
        assert SERVICES[name]["volumes"] == ["data:/data"]
        told = SERVICES[name]["environment"] | {"SOSP_QUEUES": None, "FORWARDED_ALLOW_IPS": BELIEVED}
        assert told == SERVICES["api"]["environment"]
    assert SERVICES["api"]["environment"]["SOSP_DATA_DIR"] == "/data"
    assert "redis" not in SERVICES["api"]["volumes"]


def test_every_setting_can_be_given_in_the_env_file_and_no_other_is_named() -> None:
    passed_on = SERVICES["api"]["environment"].keys()
    ours = SETTINGS - FIXED_BY_COMMAND
    assert passed_on == ours | {"FORWARDED_ALLOW_IPS"}, "docker-compose.yml and service/settings.py differ"
    for path in [*DOCKERFILES, ".env.example", "docker/README.md", "docker-compose.yml"]:
        named = set(re.findall(r"\bSOSP_[A-Z_]+\b", (ROOT / path).read_text()))
        assert named <= SETTINGS, path


def test_every_variable_of_the_compose_file_is_in_the_example() -> None:
    wanted = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    offered = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert offered - SETTINGS == (wanted - SETTINGS) | {"COMPOSE_PROFILES"}


def test_the_settings_of_the_containers_are_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in SERVICES["api"]["environment"].items():
        if value is not None and name in SETTINGS:
            monkeypatch.setenv(name, value.replace("/run/secrets", str(tmp_path)))
    for name in SERVICES["api"]["secrets"]:
        (tmp_path / name).write_text("se/cret\n")
    settings = Settings()
    assert settings.database_url == "postgresql+psycopg://sosp:se%2Fcret@postgres:5432/sosp"
    assert (settings.require_keys, settings.log_format) == (True, "json")
    assert settings.broker_url == "redis://:se%2Fcret@redis:6379/0"


def test_redis_keeps_every_message_and_tells_nobody_the_password() -> None:
    redis = SERVICES["redis"]
    shell, flag, script = redis["command"]
    assert (shell, flag) == ("sh", "-c")
    command = shlex.split(script.replace("\\\n", " ").partition("<<")[0])
    assert command[:3] == ["exec", "redis-server", "-"]
    options = dict(zip(command[3::2], command[4::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--dir"] == "/data"
    assert redis["volumes"] == ["redis:/data"]
    assert "password" not in " ".join(command)
    assert "requirepass $$(cat /run/secrets/redis_password)" in script


def test_passwords_are_in_files_that_only_those_get_who_need_them() -> None:
    assert "PASSWORD}" not in (ROOT / "docker-compose.yml").read_text()
    for name, service in SERVICES.items():
        told = f"{service.get('environment')} {service.get('command')} {service['healthcheck']}"
        mounted = set(service.get("secrets", []))
        assert set(re.findall(r"/run/secrets/(\w+)", told)) == mounted, name
        assert mounted <= COMPOSE["secrets"].keys()
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())


@pytest.mark.parametrize("name", OURS)
def test_compose_and_image_agree(name: str) -> None:
    service = SERVICES[name]
    path = service["build"]["dockerfile"]
    assert path in DOCKERFILES
    assert service["image"].partition(":")[2].partition("-")[0] == PROJECT["version"]
    assert arguments(path, "USER") == [service["user"]] == ["10001:10001"]
    [command] = [yaml.safe_load(rest) for word, rest in instructions(path) if word == "CMD"]
    assert [part for option in service["command"] for part in option.split("=")] == command
    assert health_command(path)[:3] == service["healthcheck"]["test"][1:4]
    for argument in service["build"].get("args", {}):
        assert any(declared.startswith(f"{argument}=") for declared in arguments(path, "ARG"))


@pytest.mark.parametrize("name", OURS)
def test_commands_exist(name: str) -> None:
    assert_runs_here(SERVICES[name]["command"])
    assert_runs_here(SERVICES[name]["healthcheck"]["test"][1:])
    assert_runs_here(health_command(SERVICES[name]["build"]["dockerfile"]))


def test_the_worker_and_the_health_checks_load_no_torch() -> None:
    probe = (
        "import runpy, sys, worker.__main__\n"
        "for name in ('api', 'worker'):\n"
        "    runpy.run_path(f'docker/{name}_health.py', run_name='probe')\n"
        "print(sorted({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", DOCKERFILES)
def test_an_image_is_pinned_small_and_without_privileges(path: str) -> None:
    bases = [base.partition(" ")[0] for base in arguments(path, "FROM")]
    assert len(bases) == 2
    assert len(set(bases)) == 1, "a virtual environment moves between equal interpreters only"
    final = final_stage(path)
    words = [word for word, _ in final]
    assert words.index("USER") < words.index("CMD")
    assert not any("pip" in rest for word, rest in final if word == "RUN")
    assert any("PIP_NO_CACHE_DIR=1" in rest for rest in arguments(path, "ENV"))
    labels = " ".join(arguments(path, "LABEL"))
    assert all(f"image.{name}=" in labels for name in ("title", "licenses", "version", "revision"))
    assert f"VERSION={PROJECT['version']}" in arguments(path, "ARG")


def test_images_are_pinned_to_a_patch_release() -> None:
    bases = [base.partition(" ")[0] for path in DOCKERFILES for base in arguments(path, "FROM")]
    pulled = [*bases, SERVICES["redis"]["image"]]
    assert all(re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+-[a-z-]+", image) for image in pulled), pulled
    # Its releases have two numbers.
    assert re.fullmatch(r"postgres:\d+\.\d+-[a-z]+", SERVICES["postgres"]["image"])


def test_the_job_database_asks_for_a_password_and_is_kept() -> None:
    postgres = SERVICES["postgres"]
    assert postgres["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/postgres_password"
    assert "scram-sha-256" in postgres["environment"]["POSTGRES_INITDB_ARGS"]
    [volume] = postgres["volumes"]
    assert postgres["environment"]["PGDATA"].startswith(volume.partition(":")[2])
    assert "postgres" in COMPOSE["volumes"]
    host = SERVICES["api"]["environment"]["SOSP_DATABASE_URL"].rpartition("@")[2]
    assert host == f"postgres:5432/{postgres['environment']['POSTGRES_DB']}"


def installs(path: str) -> list[str]:
    steps = [step.strip() for run in arguments(path, "RUN") for step in run.split("&&")]
    return [step for step in steps if step.startswith("pip install")]


def test_the_api_is_installed_without_what_a_worker_needs() -> None:
    assert installs("docker/api.Dockerfile") == ["pip install -c constraints.txt '.[otel]'"]


def test_the_worker_is_installed_with_the_torch_of_its_variant() -> None:
    torch, ours = installs("docker/worker.Dockerfile")
    assert torch == 'pip install --no-deps --index-url "${TORCH_INDEX}" -r torch.txt'
    assert ours == "pip install -c constraints.txt '.[worker,otel]'"
    pins = re.findall(r"^(?:torch|torchvision)==.*$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert len(pins) == 2
    variants = {name: SERVICES[name]["build"]["args"]["TORCH_INDEX"] for name in OURS[1:]}
    assert variants["worker-cpu"].endswith("/whl/cpu")
    assert variants["worker-gpu"] == "https://pypi.org/simple"


@pytest.mark.parametrize("path", DOCKERFILES)
def test_what_is_copied_exists_and_is_let_through(path: str) -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    for copy in arguments(path, "COPY"):
        if not copy.startswith("--from="):
            *sources, _ = copy.split()
            assert {source.removesuffix("/") for source in sources} <= let_through
            assert all((ROOT / source).exists() for source in sources)


def commands(text: str) -> list[str]:
    """What a shell gets to see of a block."""
    return [line.partition("  #")[0].strip() for line in text.splitlines() if line.strip()]


def test_both_guides_take_the_same_steps() -> None:
    readme, guide = (ROOT / name for name in ("docker/README.md", "docs/how-to/deployment.md"))
    start = readme.read_text().partition("## Start\n")[2].partition("\nFor a GPU")[0]
    blocks = re.findall(r"```sh\n(.*?)```", guide.read_text(), re.DOTALL)
    assert commands(start) in [commands(block) for block in blocks]


def test_everything_is_saved_before_it_is_replaced() -> None:
    told = (ROOT / "docker/README.md").read_text().partition("## Upgrade\n")[2]
    places = [told.index(step) for step in ("pg_dump", "compose stop", "tar -czf", "git pull", "compose up")]
    assert places == sorted(places)
