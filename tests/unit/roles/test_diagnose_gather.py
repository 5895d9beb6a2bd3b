# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may not be in a diagnosis, what must be, and hosts on which hardly anything works."""
from __future__ import annotations

import importlib.util
import json
import os
import re
import stat
import subprocess
import sys
import tarfile
import time
import typing as t
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles/diagnose/files/gather.py"
#: No part of it may ever come through.
SECRET = "s3cr3tV4lue"


def load() -> t.Any:
    spec = importlib.util.spec_from_file_location("gather", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gather = load()


@pytest.mark.parametrize(
    "text",
    [
        "HF_TOKEN={}", "export VLLM_API_KEY='{}'", 'VLLM_API_KEY="{} {}"', "MY_SECRET={} and {}", "DB_PASSWORD={}\\\n{}\nNEXT=1",
        'X_KEY="first\n{}\nlast"', "AWS_SECRET_ACCESS_KEY: {}", '{{"api_key": "{}", "b": 1}}', "{{'password': '{}'}}", "--api-key {} --port 1",
        "--hf-token={}", "Authorization: Bearer {}", "authorization: Basic {}", 'Authorization: Digest username="a", response="{}"',
        '"Authorization": "Bearer {}"', "Cookie: a=1; session={}", "Set-Cookie: {}", "postgres://user:{}@db:5432/x", "http://u:{}@@{}@host/",
        "https://{}0123456789@host/x", "https://cdn/x?X-Amz-Signature={}&n=1", "https://cdn/x?a=1&sig={}", "url?token={}", "it said bearer {}",
        "Environment=A=1 VLLM_API_KEY={} B=2", "password = {}", "venom_hf_token: {}",
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n{}", "client-secret={}", "API-KEY={}", "{{\"hf_token\":\"{}\"}}", "sasl.password={}",
        "2026 INFO started with api_key='{}', port=1", "Namespace(api_key=['{}'], port=1)",
        # Several keys, as --api-key of vLLM takes them, and words behind a space.
        "--api-key first {} --port 1", "VENOM_VLLM_ARGS='--api-key first {}'\nA=1", 'ARGS="--port 1 --api-key first {} {}"', "--api-key 'a' \"{}\"",
        "ExecStart=vllm serve --api-key first \\\n  {} \\\n  --port 1", "--api-key      {}", "--api-key first,{}", "api_key=['first', {}",
        "{{'api_key': ['first', '{}'], 'x': 1}}", '{{"api_key": ["first", "{}"], "b": 1}}', '{{"api_key": [\n  "first",\n  "{}"\n ]}}',
        "Namespace(api_key=['first', '{}'], port=1)", '["vllm", "--api-key", "first", "{}", "--port"]', "MY_SECRET=[a] {}", '"MY_SECRET=[a] {}"',
        '{{"keys_secret": {{"a": "first", "b": ["x]", "{}"]}}}}', 'Environment="API_KEY=two {}" X=1', "--api-key [a] {}", "'--api-key=two {}' x",
        "curl -H 'x-api-key: abc {}' http://h", '{{"line": "Environment=\\"API_KEY=two {}\\" X=1"}}',
        "MY_PASSPHRASE={}", "Environment=DB_PASS={}",
    ],
)  # fmt: skip
def test_no_secret_comes_through(text: str) -> None:
    masked = gather.mask(text.replace("{{", "{").replace("}}", "}").replace("{}", SECRET))
    assert SECRET not in masked and "***" in masked


@pytest.mark.parametrize(
    "token", ["hf_abcdefghijklmnopqrstuv", "ghp_0123456789abcdef", "sk-0123456789abcdef", "nvapi-0123456789", "eyJhbGciOiJIUzI1.eyJzdWIiOiIx.c2ln"]
)
def test_known_tokens_are_seen_anywhere(token: str) -> None:
    assert token not in gather.mask(f"GET /a/{token}/b and '{token}' or {token}")


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=16", "--max-num-batched-tokens 2048", "KeyringMode=private", "VENOM_VLLM_PORT=8001", "LLM_MODEL_NAME=google/gemma-2b-it",
        '"eos_token": "</s>"', '"path": "tokenizer.json", "size": 4', "Avg prompt throughput: 5.0 tokens/s, Running: 0 reqs", "VLLM_API_KEY=",
        "Namespace(api_key=[], port=1)", '{"tokens": ["a", "b"]}', "stop_token_ids=[1, 2]", '"--max-tokens", "5", "6"', "COMPASS=north",
        "http://127.0.0.1:8001/v1/models", "tokenizer=/models/a", "the key is missing", "2026-11-26T07:00:00+00:00 user@host", "num_tokens: 3",
    ],
)  # fmt: skip
def test_what_an_operator_needs_stays(text: str) -> None:
    assert gather.mask(text) == text


def test_json_stays_json() -> None:
    text = json.dumps({"api_key": SECRET, "nested": {"password": SECRET, "port": 1}, "url": f"http://u:{SECRET}@h/"})
    assert json.loads(gather.mask(text)) == {"api_key": "***", "nested": {"password": "***", "port": 1}, "url": "http://u:***@h/"}


def test_what_stands_behind_a_list_of_secrets_stays() -> None:
    for text, masked in (
        ("--api-key a b --port 1", "--api-key *** --port 1"),
        ("VENOM_VLLM_ARGS='--api-key a b --max-model-len 4096'\nA=b\n", "VENOM_VLLM_ARGS='--api-key *** --max-model-len 4096'\nA=b\n"),
        ('VENOM_VLLM_ARGS="--api-key a b"\nA=b\n', 'VENOM_VLLM_ARGS="--api-key ***"\nA=b\n'),
        ("argv[]=vllm --api-key a b ; ignore_errors=no ; pid=7", "argv[]=vllm --api-key *** ; ignore_errors=no ; pid=7"),
        ("{'api_key': ['a', 'b'], 'x': 1}", "{'api_key': ['***'], 'x': 1}"),
        ("{'api_key': {'u': 'a', 'v': 'b'}, 'x': 1}", "{'api_key': {'***': '***'}, 'x': 1}"),
        ("Namespace(api_key=(a, (b, c)), port=1)", "Namespace(api_key=(***), port=1)"),
        ('Environment="API_KEY=two words" X=1', 'Environment="API_KEY=***" X=1'),
    ):
        assert gather.mask(text) == masked
    lists = json.dumps({"api_key": ["a", "b"], "secret": {"user": "a", "of": ["b"]}, "password": [], "port": 1}, indent=1)
    assert json.loads(gather.mask(lists)) == {"api_key": ["***"], "secret": {"***": "***"}, "password": [], "port": 1}


def test_a_list_that_is_never_closed_hides_no_more_than_it_must() -> None:
    masked = gather.mask("the token: (cut off\n" + "line of a log\n" * 1000)
    assert "cut off" not in masked and masked.count("line of a log") > 600


def test_a_value_of_several_words_on_a_command_line_is_one() -> None:
    argv = ["python3", "-m", "vllm", "--api-key", f"{SECRET} {SECRET}", "--port", "1", f"--hf-token={SECRET}", "--max-tokens", "5"]
    assert gather.mask_arguments(argv) == "python3 -m vllm --api-key *** --port 1 --hf-token=*** --max-tokens 5"
    several = ["vllm", "--api-key", SECRET, f"{SECRET} two", SECRET, "--port", "1", "--api-key", SECRET]
    assert gather.mask_arguments(several) == "vllm --api-key *** *** *** --port 1 --api-key ***"


@pytest.mark.parametrize(
    "unit", ["a", "_", "-", "key_", "a=", "://", "https://a", "--key ", '"', "-----BEGIN PRIVATE KEY-----", "KEY=\\\n", "KEY='\n", "eyJaaaaaaaa.",
             "key=[", "key=['", '"key=', "--key a ", "--key a", '--key", "a", "', "--key" + " " * 500]
)
def test_a_hostile_log_is_masked_in_time_that_grows_with_its_length(unit: str) -> None:
    seconds = []
    for size in (20_000, 160_000):
        begun = time.process_time()
        gather.mask((unit * (size // len(unit) + 1))[:size])
        seconds.append(time.process_time() - begun)
    # Eight times the text may take some eight times as long; a quadratic pattern would take 64 times.
    assert seconds[1] < 30 * max(seconds[0], 0.01)


def run(folder: Path, answers: t.Any = None, path: str | None = None) -> tuple[dict[str, t.Any], dict[str, str], list[dict[str, t.Any]]]:
    """The script as the role runs it: the answer, the members of the archive with their text, and its index."""
    names = ("config_dir", "models_dir", "state_dir", "log_dir", "run_dir", "install_dir")
    wanted = dict({name: str(folder / name) for name in names}, host="gpu-1", answers=answers or {})
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.read_text(encoding="utf-8")], input=json.dumps(wanted), capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"] if path is None else path, "TMPDIR": str(folder)},
    )  # fmt: skip
    said = json.loads(done.stdout)
    archive_path = Path(said["path"])
    assert stat.S_IMODE(archive_path.stat().st_mode) == 0o600
    with tarfile.open(archive_path) as archive:
        members = {member.name.partition("/")[2]: archive.extractfile(member).read().decode() for member in archive}  # type: ignore[union-attr]
    archive_path.unlink()
    return said, members, json.loads(members["index.json"])


@pytest.fixture
def host(tmp_path: Path) -> Path:
    for name in ("config_dir", "models_dir", "log_dir", "run_dir"):
        (tmp_path / name).mkdir()
    (tmp_path / "config_dir" / "vllm.env").write_text(f"VENOM_VLLM_PORT=8001\nVLLM_API_KEY={SECRET} {SECRET}\n")
    (tmp_path / "config_dir" / "credentials").mkdir()
    (tmp_path / "config_dir" / "credentials" / "hf_token").write_text(SECRET)
    (tmp_path / "models_dir" / "manifest.json").write_text('{"schema": 1, "models": []}\n')
    (tmp_path / "log_dir" / "vllm.log").write_text(f"INFO ready\nGET /x?token={SECRET}\n")
    return tmp_path


def test_an_archive_has_what_tells_why_and_no_secret(host: Path) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "venom", "--api-key", f"{SECRET} two"])
    try:
        said, members, index = run(host, {"runtimes": {"status": "online", "error_message": f"http://u:{SECRET}@h"}})
    finally:
        sleeper.kill()
        sleeper.wait()
    assert [name for name, text in members.items() if SECRET in text or "two" in text.split()] == []
    assert "VENOM_VLLM_PORT=8001" in members["config/vllm.env"] and "INFO ready" in members["logs/vllm.log"]
    assert json.loads(members["answers/runtimes.json"])["status"] == "online" and '"schema": 1' in members["config/manifest.json"]
    assert "credentials/hf_token" in members["disk/config_dir.list"] and f"{sleeper.pid} " in members["processes"]
    assert f"== {sleeper.pid} " in members["open-files"] and "MemAvailable" in members["system/proc-meminfo"]
    assert json.loads(members["disk/spaces.json"])["/"]["free_bytes"] > 0
    assert len(members) == said["items"] and {item["name"] for item in index} >= set(members) - {"index.json"}


def test_a_host_where_no_command_and_no_folder_is_left_still_answers(tmp_path: Path) -> None:
    said, members, index = run(tmp_path, path=str(tmp_path / "none"))
    assert "processes" in members and "system.json" in members
    failed = {item["name"]: item["error"] for item in index if "error" in item}
    assert "is not on this host" in failed["units/venom-vllm.status"] and "No such file" in failed["config"]
    assert "no folder" in failed["disk/models_dir.list"]
    assert len(said["missing"]) == len(failed)


def test_a_log_of_gigabytes_is_its_end_and_the_whole_stays_bounded(host: Path) -> None:
    for number in range(20):
        with open(host / "log_dir" / f"{number}.log", "wb") as stream:
            stream.truncate(3 * 1024**3)
            stream.seek(0, os.SEEK_END)
            stream.write(b"\n" + b"some words\n" * 60_000 + b"\nVERY_LAST_LINE\n")
    dummy, members, index = run(host)
    assert "VERY_LAST_LINE" in members["logs/0.log"]
    assert sum(map(len, members.values())) < gather.TOTAL_BYTES + 200_000
    assert any(item.get("truncated") for item in index), "the last of them did not fit"


def test_the_half_line_at_a_cut_is_left_out(tmp_path: Path) -> None:
    """It may be the half of a line whose other half had the name of the secret."""
    path = tmp_path / "x.log"
    path.write_text(f"API_KEY={'s' * 50}{SECRET}\nnext\n")
    archive = gather.Archive()
    archive.file("x", str(path), limit=len(SECRET) + 6)
    assert archive.items["x"] == b"next\n"


def test_a_command_that_hangs_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "COMMAND_SECONDS", 0.3)
    archive = gather.Archive()
    archive.command("hang", ["sleep", "600"])
    assert "timed out" in archive.index[0]["error"]
    late = gather.Archive(begun=time.monotonic() - gather.TOTAL_SECONDS - 1)
    late.command("late", ["true"])
    assert "no time left" in late.index[0]["error"]


def test_a_pipe_in_the_place_of_a_log_does_not_hold_it(host: Path) -> None:
    os.mkfifo(host / "log_dir" / "pipe.log")
    dummy, members, index = run(host)
    assert "logs/vllm.log" in members
    assert re.search("ordinary", next(item["error"] for item in index if item["name"] == "logs/pipe.log"))


def test_the_script_speaks_to_old_interpreters() -> None:
    """It runs under whatever python3 a half broken host still has."""
    compile(SCRIPT.read_text(encoding="utf-8"), str(SCRIPT), "exec", dont_inherit=True, flags=0)
    text = SCRIPT.read_text(encoding="utf-8")
    assert ":=" not in text and not re.search(r"\bmatch .*:$", text, re.MULTILINE) and not re.search(r"[ (=]f[\"']", text)
