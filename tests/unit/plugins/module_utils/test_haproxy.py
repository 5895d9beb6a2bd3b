# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers out of the traffic and back, against a socket that answers as HAProxy 2.6 and 3.0 do."""
from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
import typing as t

import pytest

from ansible_collections.venom.llm.plugins.module_utils import haproxy
from ansible_collections.venom.llm.plugins.module_utils.errors import VenomError

#: Columns that are read, with others between them, in HAProxy's own order.
STATE_HEAD = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight\n"
STAT_HEAD = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,desc,\n"


class Fake:
    """HAProxy with the backend venom on a Unix socket, as a context manager. ``sessions`` and ``statuses`` are told in turn, the last for ever.

    ``meanwhile`` is what somebody else does once it has been asked for statistics so many times.
    """

    def __init__(self, servers: dict[str, int], level: str = "admin") -> None:
        self.folder = tempfile.mkdtemp(prefix="hap")
        self.path = os.path.join(self.folder, "s")
        self.admin = dict(servers)
        self.weights = dict.fromkeys(servers, 1)
        self.statuses: dict[str, list[str]] = {}
        self.sessions: list[int] = [0]
        self.commands: list[str] = []
        self.level = level
        self.raw: str | None = None
        self.meanwhile: dict[int, t.Callable[[], object]] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(5)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Fake:
        self._thread.start()
        return self

    def __exit__(self, *dummy: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        shutil.rmtree(self.folder)

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            with connection:
                command = connection.makefile("r").readline().strip()
                self.commands.append(command)
                connection.sendall(self._answer(command.split()).encode())
                self.meanwhile.pop(sum(command.startswith("show stat ") for command in self.commands), lambda: None)()

    def _answer(self, words: list[str]) -> str:
        if self.raw is not None:
            return self.raw
        if words[:2] == ["show", "servers"]:
            if words[3] != "venom":
                return "Can't find backend.\n\n"
            found = enumerate(self.admin.items(), 1)
            rows = "".join(f"3 venom {number} {name} 192.0.2.{number} 2 {bits} {self.weights[name]}\n" for number, (name, bits) in found)
            return STATE_HEAD + rows + "\n"
        if words[:2] == ["show", "stat"]:
            number = self.sessions.pop(0) if len(self.sessions) > 1 else self.sessions[0]
            rows = "".join(f'venom,{name},0,0,{number},9,,70,1,1,,0,,0,0,0,0,{self._status(name)},1,"a, b",\n' for name in self.admin)
            return STAT_HEAD + rows + "\n"
        if self.level != "admin":
            return "Permission denied\n\n"
        name = words[2].partition("/")[2]
        self.admin[name] = self.admin[name] & ~0x09 | {"drain": 0x08, "ready": 0}[words[4]]
        return "\n"

    def _status(self, name: str) -> str:
        told = self.statuses.get(name)
        if told:
            return told.pop(0) if len(told) > 1 else told[0]
        return "MAINT" if self.admin[name] & 0x23 else "DRAIN" if self.admin[name] & 0x18 else "UP"


def call(fake: Fake, state: str, check_mode: bool = False, server: str = "gpu-1", **options: t.Any) -> dict[str, t.Any]:
    params = {"socket": fake.path, "backend": "venom", "server": server, "state": state, "keep": 1, "timeout": 5.0, **options}
    return haproxy.operate(params, check_mode)


def refused(fake: Fake, state: str, **options: t.Any) -> VenomError:
    with pytest.raises(VenomError) as caught:
        call(fake, state, **options)
    return caught.value


def test_drained_and_ready_each_twice_and_check_mode_says_the_same() -> None:
    with Fake({"gpu-1": 0, "gpu-2": 0}) as fake:
        for state, bits in (("drained", 0x08), ("ready", 0)):
            announced = call(fake, state, check_mode=True)
            assert not any(command.startswith("set") for command in fake.commands)
            real = call(fake, state)
            assert announced["changed"] is real["changed"] is True and announced["diff"] == real["diff"]
            assert announced["state"] == real["state"] == state
            assert fake.admin == {"gpu-1": bits, "gpu-2": 0}
            fake.commands.clear()
            again, announced = call(fake, state), call(fake, state, check_mode=True)
            assert again["changed"] is announced["changed"] is False and again["diff"] == announced["diff"]
            assert again["diff"]["before"] == again["diff"]["after"] == {"state": state}
            assert not any(command.startswith("set") for command in fake.commands)


def test_a_drain_waits_for_the_last_request() -> None:
    with Fake({"gpu-1": 0, "gpu-2": 0}) as fake:
        fake.sessions = [3, 2, 1, 0]
        assert call(fake, "drained")["sessions"] == 0 and len(fake.sessions) == 1


def test_requests_that_outlive_the_time_are_counted_and_the_server_stays_out() -> None:
    with Fake({"gpu-1": 0, "gpu-2": 0}) as fake:
        fake.sessions = [2]
        error = refused(fake, "drained", timeout=0.3)
        assert error.reason_code == "balancer_timeout" and error.found == "2 requests" and fake.admin["gpu-1"] == 0x08


def test_a_server_is_ready_when_the_health_check_has_found_it() -> None:
    with Fake({"gpu-1": 0x08, "gpu-2": 0}) as fake:
        fake.statuses["gpu-1"] = ["DOWN", "DOWN", "DOWN 1/2", "UP"]
        assert call(fake, "ready")["status"] == "UP" and fake.statuses["gpu-1"] == ["UP"]


def test_one_that_is_not_found_up_is_a_timeout_each_time() -> None:
    with Fake({"gpu-1": 0x08, "gpu-2": 0}) as fake:
        fake.statuses["gpu-1"] = ["DOWN"]
        for dummy in range(2):
            error = refused(fake, "ready", timeout=0.3)
            assert error.reason_code == "balancer_timeout" and error.found == "the status DOWN"


def test_one_without_a_health_check_is_taken_as_up() -> None:
    with Fake({"gpu-1": 0x08, "gpu-2": 0}) as fake:
        fake.statuses["gpu-1"] = ["no check"]
        assert call(fake, "ready")["status"] == "no check"


def test_a_server_that_somebody_puts_back_meanwhile_is_told() -> None:
    with Fake({"gpu-1": 0, "gpu-2": 0}) as fake:
        fake.sessions = [4]
        timer = threading.Timer(0.5, fake.admin.__setitem__, ("gpu-1", 0))
        timer.start()
        error = refused(fake, "drained", timeout=20)
        timer.join()
        assert error.reason_code == "balancer_failed" and "it became ready" in error.found


@pytest.mark.parametrize(
    ("bits", "state"), [(0x01, "maintenance"), (0x02, "maintenance"), (0x20, "maintenance"), (0x08, "drained"), (0x10, "drained")]
)
def test_one_that_is_out_already_is_left_as_it_is(bits: int, state: str) -> None:
    with Fake({"gpu-1": bits, "gpu-2": 0}) as fake:
        result = call(fake, "drained")
        assert (result["changed"], result["state_before"], result["state"]) == (False, state, state) and fake.admin["gpu-1"] == bits


@pytest.mark.parametrize("check_mode", [False, True])
def test_one_of_weight_0_is_out_and_stays_out(check_mode: bool) -> None:
    """HAProxy says UP of it, and sends it nothing new."""
    with Fake({"gpu-1": 0, "gpu-2": 0}) as fake:
        fake.weights["gpu-1"] = 0
        result = call(fake, "drained", check_mode=check_mode)
        assert (result["changed"], result["state_before"], result["state"], result["status"]) == (False, "drained", "drained", "UP")
        assert not any(command.startswith("set") for command in fake.commands)


def test_a_drain_of_one_of_weight_0_waits_for_the_last_request() -> None:
    with Fake({"gpu-1": 0, "gpu-2": 0}) as fake:
        fake.weights["gpu-1"], fake.sessions = 0, [2, 1, 0]
        assert call(fake, "drained")["sessions"] == 0 and len(fake.sessions) == 1


def test_one_that_somebody_gives_a_weight_meanwhile_is_told() -> None:
    with Fake({"gpu-1": 0, "gpu-2": 0}) as fake:
        fake.weights["gpu-1"], fake.sessions = 0, [4]
        fake.meanwhile[2] = lambda: fake.weights.update({"gpu-1": 1})
        error = refused(fake, "drained", timeout=20)
        assert error.reason_code == "balancer_failed" and "it became ready" in error.found


@pytest.mark.parametrize("bits", [0x08, 0])
def test_a_weight_of_0_is_not_ended_by_ready_and_is_not_waited_for(bits: int) -> None:
    with Fake({"gpu-1": bits, "gpu-2": 0}) as fake:
        fake.weights["gpu-1"] = 0
        error = refused(fake, "ready", timeout=60)
        assert error.reason_code == "balancer_failed" and error.found == "its weight is 0" and "set server venom/gpu-1 weight 100%" in error.todo
        assert (fake.admin["gpu-1"], fake.weights["gpu-1"]) == (0, 0)


@pytest.mark.parametrize(("bits", "state"), [(0x02, "maintenance"), (0x10, "drained")])
def test_what_a_server_that_is_tracked_says_is_not_ended(bits: int, state: str) -> None:
    with Fake({"gpu-1": bits, "gpu-2": 0}) as fake:
        error = refused(fake, "ready")
        assert error.reason_code == "balancer_failed" and f"it became {state}" in error.found


def test_one_that_somebody_drains_while_it_comes_back_is_told() -> None:
    with Fake({"gpu-1": 0x08, "gpu-2": 0}) as fake:
        fake.statuses["gpu-1"] = ["DOWN"]
        fake.meanwhile[2] = lambda: fake.admin.update({"gpu-1": 0x08})
        error = refused(fake, "ready", timeout=20)
        assert error.reason_code == "balancer_failed" and "it became drained" in error.found


@pytest.mark.parametrize(("bits", "status"), [(0x08, "DRAIN"), (0x01, "MAINT"), (0, "DOWN"), (0, "UP 1/3")])
@pytest.mark.parametrize("check_mode", [False, True])
def test_the_last_server_in_the_traffic_is_not_taken_out(bits: int, status: str, check_mode: bool) -> None:
    with Fake({"gpu-1": 0, "gpu-2": bits}) as fake:
        fake.statuses["gpu-2"] = [status]
        error = refused(fake, "drained", check_mode=check_mode)
        assert error.reason_code == "balancer_failed" and error.details == {"others": []} and fake.admin["gpu-1"] == 0
        assert call(fake, "drained", keep=0)["changed"]


@pytest.mark.parametrize("check_mode", [False, True])
def test_servers_of_weight_0_are_not_kept_ones(check_mode: bool) -> None:
    with Fake({"gpu-1": 0, "gpu-2": 0, "gpu-3": 0}) as fake:
        fake.weights.update({"gpu-1": 0, "gpu-3": 0})
        error = refused(fake, "drained", server="gpu-2", check_mode=check_mode)
        assert error.reason_code == "balancer_failed" and error.details == {"others": []} and fake.admin["gpu-2"] == 0


def test_of_a_batch_as_many_leave_at_once_as_keep_allows() -> None:
    """Ansible runs the module for all hosts of a batch at once: each would see the others up, and go."""
    servers = ("gpu-1", "gpu-2", "gpu-3")
    # One look and one order at a time may happen to be in turn; not so often.
    for dummy in range(6):
        with Fake(dict.fromkeys(servers, 0)) as fake:
            together, outcomes = threading.Barrier(len(servers)), []

            def drain(fake: Fake, server: str, together: threading.Barrier, outcomes: list[str]) -> None:
                together.wait(10)
                try:
                    outcomes.append(call(fake, "drained", server=server)["state"])
                except VenomError as error:
                    outcomes.append(error.reason_code)

            threads = [threading.Thread(target=drain, args=(fake, server, together, outcomes)) for server in servers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            assert sorted(outcomes) == ["balancer_failed", "drained", "drained"] and sorted(fake.admin.values()) == [0, 8, 8]


def test_others_have_their_turn_while_requests_end() -> None:
    with Fake({"gpu-1": 0, "gpu-2": 0}) as fake:
        fake.sessions, waits = [4], threading.Event()
        fake.meanwhile[3] = waits.set
        thread = threading.Thread(target=call, args=(fake, "drained"))
        thread.start()
        assert waits.wait(10) and call(fake, "drained", server="gpu-2", keep=0, check_mode=True)["changed"]
        fake.sessions = [0]
        thread.join(10)
        assert fake.admin["gpu-1"] == 0x08


def test_a_turn_that_does_not_come_is_said_and_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy, "_TURN_TIMEOUT", 0.2)
    with Fake({"gpu-1": 0, "gpu-2": 0}) as fake, haproxy.turn(fake.path, "venom"):
        assert refused(fake, "drained").reason_code == "locked" and fake.commands == []
        # The same socket under another name is the same; another backend is not.
        os.symlink(fake.path, f"{fake.folder}/link")
        with pytest.raises(VenomError), haproxy.turn(f"{fake.folder}/link", "venom"):
            pass
        with haproxy.turn(fake.path, "other"):
            pass
    with haproxy.turn("127.0.0.1:9999", "venom"), pytest.raises(VenomError), haproxy.turn("[127.0.0.1]:9999", "venom"):
        pass


def test_one_that_has_no_traffic_is_not_missed() -> None:
    """The first activation of a fleet: nothing serves yet."""
    with Fake({"gpu-1": 0, "gpu-2": 0}) as fake:
        fake.statuses.update({"gpu-1": ["DOWN"], "gpu-2": ["DOWN"]})
        assert call(fake, "drained")["changed"]


def test_what_haproxy_does_not_know_is_named() -> None:
    with Fake({"gpu-1": 0, "gpu-2": 0}) as fake:
        assert refused(fake, "drained", server="gpu-9").found == "the servers gpu-1, gpu-2"
        assert refused(fake, "drained", backend="other").found == "no such backend"


def test_a_socket_below_the_level_admin() -> None:
    with Fake({"gpu-1": 0, "gpu-2": 0}, level="operator") as fake:
        error = refused(fake, "drained")
        assert error.reason_code == "balancer_failed" and error.found == "Permission denied" and "level admin" in error.todo


@pytest.mark.parametrize("name", ["", "a b", "a;disable frontend x", "a\nshutdown sessions server", "a/b", "ä"])
@pytest.mark.parametrize("option", ["backend", "server"])
def test_nothing_but_a_name_gets_into_a_command(name: str, option: str) -> None:
    with Fake({"gpu-1": 0, "gpu-2": 0}) as fake:
        assert refused(fake, "drained", **{option: name}).reason_code == "invalid_option" and fake.commands == []


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "# be_name srv\nvenom gpu-1\n",
        STATE_HEAD + "3 venom 1 gpu-1 192.0.2.1 2 what 1\n",
        STATE_HEAD + "3 venom 1 gpu-1 192.0.2.1 2 0 what\n",
        STATE_HEAD + "3 venom 1 gpu-1\n",
        "\x00\xff",
    ],
)
def test_an_answer_of_something_else(raw: str) -> None:
    with Fake({"gpu-1": 0, "gpu-2": 0}) as fake:
        fake.raw = raw
        assert refused(fake, "drained").reason_code in ("balancer_unreachable", "balancer_failed")


def test_nobody_answers() -> None:
    with Fake({"gpu-1": 0, "gpu-2": 0}) as fake:
        path = fake.path
    params = {"socket": path, "backend": "venom", "server": "gpu-1", "state": "drained", "keep": 1, "timeout": 1.0}
    with pytest.raises(VenomError) as caught:
        haproxy.operate(params, False)
    assert caught.value.reason_code == "balancer_unreachable"


def test_a_socket_that_says_nothing_is_not_waited_for_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(VenomError) as caught:
            haproxy.ask(address, "show info", timeout=0.2)
    assert caught.value.reason_code == "balancer_unreachable"


@pytest.mark.parametrize("address", ["192.0.2.1:9999", "0.0.0.0:9999", "localhost:9999", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", "admin.sock", ""])
def test_only_sockets_of_this_host(address: str) -> None:
    with pytest.raises(VenomError) as caught:
        haproxy.ask(address, "show info")
    assert caught.value.reason_code == "invalid_option"
