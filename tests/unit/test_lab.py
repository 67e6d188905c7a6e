"""The lab's matrix, its rules, and the audit of the kernel tests' skips; nothing is booted or fetched."""

import configparser
import fcntl
import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from lab import LabError, cache, containers, debian, kernels, kvm, user_mode
from lab.cli import main
from lab.job import Job
from pfkeyx.features import Feature

pytest_plugins = ["pytester"]

PROJECT = Path(__file__).resolve().parents[2]
AUDIT = """
import pytest
from tests.kernel.audit import (
    pytest_configure, pytest_make_collect_report, pytest_runtest_makereport, required_features
)
from tests.kernel.audit import requires

@pytest.fixture
def own_network_namespace():
    pass
"""
IMPORTS = "import pytest\nfrom pfkeyx.features import Feature\nfrom tests.kernel.audit import requires\n"


def _run_on(kernel: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, test: str) -> dict[str, int]:
    monkeypatch.setenv("LAB_KERNEL", kernel)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.syspath_prepend(PROJECT)
    pytester.makeconftest(AUDIT)
    pytester.makepyfile(IMPORTS + test)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider").parseoutcomes()


REQUIRING = "@requires(Feature.MIGRATE_STATE)\ndef test_it(): assert True\n"


def test_a_test_is_skipped_where_the_matrix_says_that_its_feature_lacks(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _run_on("6.1", pytester, monkeypatch, REQUIRING) == {"skipped": 1}


def test_a_test_runs_where_the_kernel_must_have_its_feature(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _run_on("7", pytester, monkeypatch, REQUIRING) == {"passed": 1}


@pytest.mark.parametrize(
    "test",
    [
        "def test_it(): pytest.skip('no reason that counts')\n",
        "def test_it(): pytest.skip('migrate is missing, it seems')\n",
        "@pytest.mark.skip\ndef test_it(): pass\n",
        "@pytest.mark.skipif(True, reason='xfrm')\ndef test_it(): pass\n",
        "@pytest.fixture\ndef thing(): pytest.skip('nothing')\ndef test_it(thing): pass\n",
        "@pytest.mark.xfail\ndef test_it(): assert False\n",
    ],
)
def test_a_skip_for_a_feature_that_the_kernel_must_have_is_a_failure(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, test: str
) -> None:
    outcomes = _run_on("6.1", pytester, monkeypatch, test)
    assert "skipped" not in outcomes
    assert "xfailed" not in outcomes
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) == 1


def test_skipping_a_whole_module_is_a_failure(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "pytest.importorskip('a_module_that_is_not_there')\ndef test_it(): pass\n"
    assert _run_on("6.1", pytester, monkeypatch, module) == {"errors": 1}


def test_what_the_matrix_calls_lacking_are_features() -> None:
    known = {feature.value for feature in Feature}
    matrix = kernels.load()
    assert matrix.default in matrix.kernels
    for kernel in matrix.kernels.values():
        assert kernel.lacks <= known
        assert kernel.suites


def test_every_kernel_of_the_matrix_has_a_test_environment() -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(PROJECT / "tox.ini")
    environments = set(tox["tox"]["env_list"].split())
    for name in kernels.load().kernels:
        assert environments & {f"kernel-{name}", f"user-mode-{name}"}


def test_an_unknown_kernel_is_refused_with_the_names_of_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--kernel", "2.4", "--", "true"]) == 125
    assert capsys.readouterr().err == ("lab: there is no kernel '2.4' in kernels.toml: choose one of 6.1, 6.12, 7\n")


def test_a_kernel_with_addrupdate_is_the_stock_one_but_for_that() -> None:
    matrix = kernels.load()
    stock, patched = matrix.kernel("6.1"), matrix.kernel("6.1+addrupdate")
    assert (patched.stock, patched.suites) == (stock.stock, stock.suites)
    assert (stock.has_addrupdate, patched.has_addrupdate) == (False, True)
    assert stock.lacks - patched.lacks == {"addrupdate"}


def test_a_missing_tool_ends_in_one_sentence_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lab.tools.shutil.which", lambda *_args, **_keywords: None)
    monkeypatch.setenv("PFKEYX_LAB_CACHE", str(tmp_path))
    assert main(["--kernel", "6.1", "--", "true"]) == 125
    assert capsys.readouterr().err == "lab: virtme-run is missing: install the Python package virtme-ng\n"


def test_a_failed_download_ends_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PFKEYX_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(
        debian,
        "fetch_newest_kernel",
        lambda *_: (_ for _ in ()).throw(LabError("the lists could not be fetched")),
    )
    assert main(["--fetch", "6.1"]) == 125
    assert capsys.readouterr().err.splitlines()[-1] == "lab: the lists could not be fetched"


def test_the_newest_kernel_is_the_one_with_the_highest_version() -> None:
    matrix = kernels.Matrix("6.1", {name: kernels.Kernel(name, (), frozenset()) for name in ("6.9", "6.12", "6.1")})
    assert matrix.newest.name == "6.12"


def test_headers_are_kept_as_kernels_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    releases = iter(["1", "2"])
    monkeypatch.setenv("PFKEYX_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(debian, "fetch_newest", lambda *_: (next(releases), [tmp_path / "headers.deb"]))
    monkeypatch.setattr(debian, "unpack", lambda _packages, tree: (tree / "usr/include").mkdir(parents=True))
    kernel = kernels.load().newest
    for release, is_fresh in (("1", True), ("1", True), ("2", False)):
        (tmp_path / "headers.deb").touch()
        if not is_fresh:
            monkeypatch.setattr(cache, "FRESH_FOR_SECONDS", -1)
        with cache.headers(kernel) as folders:
            assert folders[0].is_dir()
            assert [tree.name for tree in (tmp_path / kernel.name / "headers/trees").iterdir()] == [release]


def test_only_asked_for_variables_reach_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("WANTED", "y")
    environment = Job(("true",), variables=("WANTED", "UNSET")).environment("6.1")
    assert environment["WANTED"] == "y"
    assert environment["LAB_KERNEL"] == "6.1"
    assert environment.keys() <= {"PATH", "HOME", "LANG", "VIRTUAL_ENV", "WANTED", "LAB_KERNEL"}


def test_the_answer_about_kvm_is_asked_again_after_the_host_booted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot_id = tmp_path / "boot_id"
    device = tmp_path / "kvm-device"
    device.touch()
    answers = iter([True, False])
    monkeypatch.setattr(kvm, "_BOOT_ID", boot_id)
    monkeypatch.setattr(kvm, "_DEVICE", str(device))
    monkeypatch.setattr(kvm, "_panics_under", lambda *_: next(answers))
    boot_id.write_text("first\n")
    assert [kvm.works(tmp_path, tmp_path), kvm.works(tmp_path, tmp_path)] == [True, True]
    boot_id.write_text("second\n")
    assert [kvm.works(tmp_path, tmp_path), kvm.works(tmp_path, tmp_path)] == [False, False]


@pytest.mark.parametrize("words", [["--kernel", "6.1+addrupdate"], ["--kernel", "6.1", "--cpus", "2"]])
def test_a_kernel_in_user_mode_is_a_stock_one_with_one_cpu(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--user-mode", "--", "true"]) == 125
    assert "in user mode is a stock one with one CPU" in capsys.readouterr().err


def test_the_hosts_own_kernel_is_not_run_in_user_mode(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--kernel", "host", "--user-mode", "--", "true"]) == 125
    assert capsys.readouterr().err == "lab: the host's own kernel does not run in user mode: name one of kernels.toml\n"


def test_a_large_program_in_user_mode_may_have_the_whole_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = tmp_path / "max_map_count"
    limit.write_text("65530\n")
    for _ in range(2):
        user_mode._allow_mappings(limit)
    assert int(limit.read_text()) == user_mode._MEMORY_MIB << 8
    assert capsys.readouterr().err.count("vm.max_map_count is") == 1


def test_a_packaged_kernel_in_user_mode_comes_with_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(_packages: object, tree: Path) -> None:
        (tree / "usr/lib/uml/modules/6.1.176").mkdir(parents=True)

    monkeypatch.setenv("PFKEYX_LAB_CACHE", str(tmp_path))
    (tmp_path / "package.deb").touch()
    monkeypatch.setattr(debian, "fetch_newest", lambda package, *_: (f"{package}-1", [tmp_path / "package.deb"]))
    monkeypatch.setattr(debian, "unpack", unpack)
    with cache.user_mode(kernels.load().kernel("6.1"), "user-mode-linux") as program:
        tree = tmp_path / "6.1/user-mode/trees/user-mode-linux-1"
        assert program.path == tree / "usr/bin/linux.uml"
        assert program.modules == tree / "usr/lib/uml/modules/6.1.176"


def test_a_kernel_in_user_mode_is_built_once_for_each_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []

    def make(folder: Path, _: object) -> Path:
        built.append(folder / "linux")
        built[-1].touch()
        return built[-1]

    config = tmp_path / "config"
    monkeypatch.setattr(user_mode, "_CONFIG", config)
    monkeypatch.setattr(user_mode, "_make", make)
    monkeypatch.setattr(debian, "fetch_source", lambda *_: [])
    monkeypatch.setattr(debian, "unpack", lambda *_: None)
    monkeypatch.setattr("lab.tools.shutil.which", lambda name, **_: name)
    kernel, image = kernels.load().kernel("7"), cache.Image("7.3.4", tmp_path, tmp_path)
    programs = []
    (tmp_path / ".user-mode-interrupted/source").mkdir(parents=True)
    for asked in ("one", "other", "one"):
        config.write_text(asked)
        programs.append(user_mode.build(kernel, image))
    assert programs[0] == programs[2] != programs[1]
    assert len(built) == 2
    assert all(program.exists() for program in programs)
    assert not list(tmp_path.glob(".user-mode-*"))


def test_the_command_is_executable_and_lists_the_matrix() -> None:
    done = subprocess.run([sys.executable, PROJECT / "lab/run", "--list"], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == len(kernels.load().kernels)
    assert (PROJECT / "lab/run").stat().st_mode & 0o111


def test_the_images_are_built_anew_when_what_is_in_them_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "PROJECT", tmp_path)
    (tmp_path / ".dockerignore").write_text("*\n!code\n")
    (tmp_path / "code").mkdir()
    (tmp_path / "code/module.py").write_text("one = 1\n")
    first = containers.content_of_images()
    (tmp_path / "code/module.pyc").write_text("compiled")
    (tmp_path / "elsewhere.py").write_text("is not in them")
    assert containers.content_of_images() == first
    (tmp_path / "code/module.py").write_text("one = 2\n")
    assert containers.content_of_images() != first


def test_no_other_clone_builds_the_images_before_they_are_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "docker"
    lock = cache.lock

    def lock_while_none_builds(path: Path, operation: int) -> AbstractContextManager[None]:
        if operation == fcntl.LOCK_SH:
            with pytest.raises(BlockingIOError), lock(home / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
                pass
        return lock(path, operation)

    monkeypatch.setenv("PFKEYX_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "lock", lock_while_none_builds)
    home.mkdir()
    (home / "disk").touch()
    (home / "made-of").write_text(containers.content_of_images())
    with containers.disk_of_images() as disk, pytest.raises(BlockingIOError), lock(disk, fcntl.LOCK_EX | fcntl.LOCK_NB):
        pass


def _with_programs(folder: Path, **scripts: str) -> dict[str, str]:
    """Return an environment in which shell scripts stand in for programs."""
    for name, script in scripts.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "BASE": ""}


def test_a_base_that_could_not_be_made_is_not_kept(tmp_path: Path) -> None:
    docker = f'echo "$1" >>{tmp_path}/called; case $1 in image|pull) exit 1; esac'
    environment = _with_programs(tmp_path, docker=docker, mmdebstrap="exit 3")
    environment["TMPDIR"] = str(tmp_path / "left")
    (tmp_path / "left").mkdir()
    build = subprocess.run([PROJECT / "docker/build"], env=environment, capture_output=True, check=False)
    assert build.returncode == 3
    assert (tmp_path / "called").read_text().split() == ["image", "pull"]
    assert not list((tmp_path / "left").iterdir())


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_beside_docker_may_take_down_what_it_made_when_it_is_interrupted(
    ending: signal.Signals, tmp_path: Path
) -> None:
    script = "trap 'sleep 0.5; echo down; exit' INT; echo up; while :; do sleep 0.1; done"
    with subprocess.Popen(
        [sys.executable, PROJECT / "lab/docker", "--", "sh", "-c", script],
        env=_with_programs(tmp_path, docker=""),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as lab:
        assert lab.stdout
        assert lab.stdout.readline() == "up\n"
        lab.send_signal(ending)
        assert lab.communicate() == ("down\n", "lab: interrupted\n")
    assert lab.returncode == 130


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (["no-such-command"], 125, "lab: no-such-command cannot be run: No such file or directory\n"),
        (["sh", "-c", "kill -KILL $$"], 128 + signal.SIGKILL, ""),
    ],
)
def test_the_status_of_a_command_beside_docker_is_one_that_a_shell_would_give(
    command: list[str], status: int, said: str, tmp_path: Path
) -> None:
    environment = _with_programs(tmp_path, docker="")
    done = subprocess.run(
        [PROJECT / "lab/docker", "--", *command], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (status, said)
