# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command, in the place of which a script prints what ``ollama`` 0.32.15 was recorded to print."""
from __future__ import annotations

import json
import os
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError
from ansible_collections.venom.llm.plugins.module_utils.names import ModelRef
from ansible_collections.venom.llm.plugins.module_utils.processes import start_ticks
from ansible_collections.venom.llm.plugins.module_utils.runtimes.ollama_cli import OllamaCli, find_command

URL = "http://127.0.0.1:11999"
NAME = "127.0.0.1:5154/library/tiny"
DRAW = "\x1b[?2026h\x1b[?25l\x1b[1Gpulling manifest "
PULLED = (
    DRAW + "\u280b \x1b[K\x1b[?25h\x1b[?2026l\x1b[?2026h\x1b[?25l\x1b[1Gpulling manifest \x1b[K\n"
    "pulling 472fcfc3fe68: 100% \u2595\u2588\u2588\u258f   51 B                         \x1b[K\n"
    "verifying sha256 digest \x1b[K\nwriting manifest \x1b[K\nsuccess \x1b[K\x1b[?25h\x1b[?2026l\n"
)
SPIN = "\x1b[?25l\x1b[?2026h\x1b[?25l\x1b[1G\x1b[K\x1b[?25h\x1b[?2026l\x1b[2K\x1b[1G\x1b[?25h"
LIST = (
    "NAME                                  ID              SIZE      MODIFIED               \n"
    "127.0.0.1:5154/library/tiny:latest    93e3842fd7c3    249 KB    Less than a second ago    \n"
    "gpt-oss:20b-cloud                     56060287d50b    -         3 days ago    \n"
)
DOWN = "Error: could not connect to ollama server, run 'ollama serve' to start it\n"

#: Plays the next step for the first argument, and notes how it was called.
SCRIPT = """#!{python}
import json, os, subprocess, sys, time
folder = {folder!r}
with open(folder + "/calls", "a") as stream:
    stream.write(json.dumps({{"argv": sys.argv[1:], "env": dict(os.environ), "pid": os.getpid()}}) + "\\n")
steps = json.load(open(folder + "/steps.json"))[sys.argv[1]]
count = sum(json.loads(line)["argv"][0] == sys.argv[1] for line in open(folder + "/calls"))
step = steps[min(count, len(steps)) - 1]
sys.stdout.write(step.get("out", "")); sys.stdout.flush()
sys.stderr.write(step.get("err", "")); sys.stderr.flush()
if step.get("child"):
    stubborn = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    stubborn += "; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", stubborn, folder + "/child"])
turn = 0
while step.get("spins"):
    turn += 1
    sys.stderr.write("\\x1b[1Gpulling manifest " + "\\u280b\\u2819"[turn % 2]); sys.stderr.flush()
    time.sleep(0.02)
sys.exit(step.get("rc", 0))
"""


class Command:
    """The stand-in, what it is to say, and what it was called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "ollama"
        self.path.write_text(SCRIPT.format(python=sys.executable, folder=str(folder)), encoding="utf-8")
        self.path.chmod(0o755)

    def says(self, **steps: list[dict[str, t.Any]]) -> OllamaCli:
        (self.folder / "steps.json").write_text(json.dumps(steps), encoding="utf-8")
        return self.cli()

    def cli(self, **options: t.Any) -> OllamaCli:
        return OllamaCli(str(self.path), URL, sleep=lambda dummy: None, **options)

    def calls(self) -> list[dict[str, t.Any]]:
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


@pytest.fixture()
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def failure_of(call: t.Callable[..., object], *arguments: t.Any, **options: t.Any) -> VenomError:
    with pytest.raises(VenomError) as caught:
        call(*arguments, **options)
    return caught.value


def test_pull(command: Command) -> None:
    cli = command.says(pull=[{"err": PULLED}])
    cli.pull(NAME, insecure=True)
    cli.pull(NAME)
    assert [call["argv"] for call in command.calls()] == [["pull", "--insecure", NAME], ["pull", NAME]]


def test_the_environment_is_nothing_but_ours(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "http_proxy", "OLLAMA_MODELS", "OLLAMA_HOST"):
        monkeypatch.setenv(name, "theirs")
    command.says(pull=[{"err": PULLED}]).pull(NAME)
    environment = command.calls()[0]["env"]
    assert environment["OLLAMA_HOST"] == URL and os.path.isabs(environment["HOME"])
    assert "theirs" not in environment.values() and set(environment) - {"LC_CTYPE"} == {"PATH", "HOME", "LC_ALL", "OLLAMA_HOST", "OLLAMA_NOHISTORY"}


def test_progress_is_what_is_drawn_without_its_control_codes(command: Command) -> None:
    seen: list[tuple[int, int | None, str]] = []
    command.says(pull=[{"err": PULLED}]).pull(NAME, progress=lambda *progress: seen.append(progress))
    assert seen[-1] == (0, None, "success")


@pytest.mark.parametrize(
    ("err", "code", "words"),
    [
        (DRAW + "\x1b[K\x1b[?25h\x1b[?2026l\nError: pull model manifest: file does not exist\n", "not_found", "file does not exist"),
        (DRAW + "\x1b[?25h\nError: 400 Bad Request: invalid model name\n", "invalid_name", "invalid model name"),
        (DRAW + '\nError: pull model manifest: Get "https://r/v2": tls: first record does not look like a TLS handshake\n', "hub_unreachable", "tls"),
        (SPIN + "Error: write /m/blobs/sha256-1-partial: no space left on device\n", "disk_full", "no space"),
        (SPIN + "panic: $HOME is not defined\n", "pull_failed", "$HOME"),
        ("", "pull_failed", "exit status 1"),
    ],
)
def test_pull_that_fails(command: Command, err: str, code: str, words: str) -> None:
    error = failure_of(command.says(pull=[{"err": err, "rc": 1}]).pull, NAME)
    assert error.reason_code == code and words in error.found and "\x1b" not in str(error)
    assert len(command.calls()) == 1


def test_pull_is_tried_again_where_that_may_help(command: Command) -> None:
    cli = command.says(pull=[{"err": DOWN, "rc": 1}, {"err": DRAW + "\nError: pull model manifest: 503: down\n", "rc": 1}, {"err": PULLED}])
    cli.pull(NAME)
    assert len(command.calls()) == 3
    command.says(pull=[{"err": DOWN, "rc": 1}])
    assert failure_of(command.cli(retries=2).pull, NAME).reason_code == "server_unreachable"
    assert len(command.calls()) == 6


def test_list(command: Command) -> None:
    cli = command.says(list=[{"out": LIST}])
    assert cli.models() == {"127.0.0.1:5154/library/tiny:latest": "sha256:93e3842fd7c3", "gpt-oss:20b-cloud": "sha256:56060287d50b"}
    assert cli.find_name("127.0.0.1:5154/library/Tiny") == "sha256:93e3842fd7c3"
    assert cli.find(ModelRef.parse("gpt-oss:20b-cloud")) == "sha256:56060287d50b"
    assert cli.find(ModelRef.parse("tiny")) is None


def test_an_empty_list(command: Command) -> None:
    assert command.says(list=[{"out": "NAME    ID    SIZE    MODIFIED \n"}]).models() == {}


def test_the_server_is_down(command: Command) -> None:
    down = [{"err": DOWN, "rc": 1}]
    cli = command.says(list=down, rm=down, stop=down, cp=down)
    for call in (cli.models, lambda: cli.delete("a"), lambda: cli.unload("a"), lambda: cli.copy("a", "b")):
        error = failure_of(call)
        assert error.reason_code == "server_unreachable" and error.details["url"] == URL


def test_delete_and_unload_and_copy(command: Command) -> None:
    cli = command.says(
        rm=[{"out": "deleted 't2'\n", "err": SPIN}, {"err": SPIN + "Error: model 't2' not found\n", "rc": 1}],
        stop=[{"err": SPIN}, {"err": SPIN + 'Error: couldn\'t find model "nothere" to stop\n', "rc": 1}],
        cp=[{"out": "copied 'a' to 'b'\n"}, {"err": 'Error: model "nothere" not found\n', "rc": 1}],
    )
    assert cli.delete("t2") is True and cli.delete("t2") is False
    assert cli.unload("t2") is True and cli.unload("nothere") is False
    cli.copy("a", "b")
    assert failure_of(cli.copy, "nothere", "b").reason_code == "not_installed"
    assert [call["argv"] for call in command.calls()] == [
        ["rm", "t2"],
        ["rm", "t2"],
        ["stop", "t2"],
        ["stop", "nothere"],
        ["cp", "a", "b"],
        ["cp", "nothere", "b"],
    ]


def test_delete_that_the_server_may_not_do(command: Command) -> None:
    cli = command.says(rm=[{"err": "Error: remove /m/blobs/sha256-63: permission denied\n", "rc": 1}, {"err": "Error: unexpected EOF\n", "rc": 1}])
    assert failure_of(cli.delete, "tiny").reason_code == "permission_denied"
    assert failure_of(cli.delete, "tiny").reason_code == "io_error"


@pytest.mark.parametrize("name", ["", "-h", "--insecure"])
def test_a_name_is_never_an_option(command: Command, name: str) -> None:
    cli = command.says()
    for call in (cli.pull, cli.delete, cli.unload, lambda other: cli.copy("a", other)):
        assert failure_of(call, name).reason_code == "invalid_name"
    assert command.calls() == []


def test_there_is_no_such_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert failure_of(OllamaCli(str(tmp_path / "ollama"), URL).models).reason_code == "not_installed"
    (tmp_path / "ollama").write_text("not executable")
    assert failure_of(OllamaCli(str(tmp_path / "ollama"), URL).models).reason_code == "not_installed"


def test_the_command_is_found_on_the_path(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(command.folder))
    assert find_command() == str(command.path)


def _wait_until_gone(pid: int) -> None:
    until = time.monotonic() + 20
    while start_ticks(pid) is not None:
        if time.monotonic() > until:
            raise AssertionError(f"{pid} still runs")
        time.sleep(0.02)


def test_a_command_that_hangs_is_ended_with_its_children(command: Command) -> None:
    command.says(list=[{"child": True, "spins": True}])
    child = command.folder / "child"
    # The time is over as soon as the child is there.
    cli = command.cli(timeout=60.0, clock=lambda: 100.0 if child.exists() and child.read_text() else 0.0)
    error = failure_of(cli.models)
    assert error.reason_code == "server_unreachable" and "did not end" in error.found
    _wait_until_gone(command.calls()[0]["pid"])
    _wait_until_gone(int(child.read_text()))


def test_a_pull_that_draws_the_same_for_ever_stalls(command: Command) -> None:
    command.says(pull=[{"spins": True}])
    error = failure_of(command.cli(idle_timeout=0.5, retries=1).pull, NAME)
    assert error.reason_code == "hub_unreachable" and "stalled" in error.found and error.details["tries"] == 2
    for call in command.calls():
        _wait_until_gone(call["pid"])


def test_the_deadline_ends_a_pull(command: Command) -> None:
    command.says(pull=[{"spins": True}])
    assert failure_of(command.cli().pull, NAME, deadline=0.7).reason_code == "deadline_exceeded"
    for call in command.calls():
        _wait_until_gone(call["pid"])


class Cancelled(BaseException):
    """Not an Exception, as what a signal raises."""


def test_whoever_watches_can_end_a_pull_and_all_that_it_started(command: Command) -> None:
    command.says(pull=[{"spins": True, "child": True}])

    def watch(*dummy: t.Any) -> None:
        if (command.folder / "child").exists() and (command.folder / "child").read_text():
            raise Cancelled

    with pytest.raises(Cancelled):
        command.cli().pull(NAME, progress=watch)
    _wait_until_gone(command.calls()[0]["pid"])
    _wait_until_gone(int((command.folder / "child").read_text()))
    assert len(command.calls()) == 1
