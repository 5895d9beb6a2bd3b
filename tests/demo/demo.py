"""The main job, shown in plain words: declare a model, run one playbook, see it served; again; then switch to a second model.

Everything lives in one folder of this checkout, `.demo` (as root on a systemd machine the playbooks also write the unit of the
server); `make demo-clean` removes it all. The hub is a small server on loopback with two generated models.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import typing as t
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / ".demo"
BIN = DEMO / "venv/bin"
HOME = DEMO / "venom"
HUB_FILE = DEMO / "hub.json"
AURORA, BOREALIS = "demo/tiny-aurora", "demo/tiny-borealis"


def say(text: str = "") -> None:
    """One line for the person who watches."""
    print(text, flush=True)


def title(text: str) -> None:
    """A heading between the steps."""
    say(f"\n{'=' * 100}\n{text}\n{'=' * 100}")


def environment() -> dict[str, str]:
    """Settings that keep Ansible, pip and the collection inside the demo's folder."""
    return dict(
        os.environ,
        ANSIBLE_COLLECTIONS_PATH=str(ROOT / "collections"),
        ANSIBLE_HOME=str(DEMO / "ansible"),
        ANSIBLE_REMOTE_TEMP=str(DEMO / "ansible/tmp"),
        ANSIBLE_NOCOWS="1",
        ANSIBLE_FORCE_COLOR="1" if sys.stdout.isatty() else "0",
        ANSIBLE_DISPLAY_OK_HOSTS="0",
        ANSIBLE_DISPLAY_SKIPPED_HOSTS="0",
        ANSIBLE_LOCALHOST_WARNING="0",
        PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}",
        PIP_NO_CACHE_DIR="1",
        PYTHONDONTWRITEBYTECODE="1",
        PYTHONPATH=str(ROOT / "tests"),
        VENOM_HOME=str(HOME),
    )


def free_port(wanted: int) -> int:
    """The wanted port of loopback, or the next one that nobody listens on."""
    for port in range(wanted, wanted + 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise SystemExit(f"no free port between {wanted} and {wanted + 99}")


def start_hub() -> str:
    """Start the embedded hub with two generated models, or find the one of an earlier run; its URL."""
    if HUB_FILE.exists():
        hub = json.loads(HUB_FILE.read_text(encoding="utf-8"))
        if hub_is_ours(hub):
            return str(hub["url"])
    command = [sys.executable, "-m", "lab", "hub", "serve", "--demo", "--host", "127.0.0.1", "--port", "0"]
    with (DEMO / "hub.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True, text=True
        )
    line = (process.stdout or sys.stdin).readline()
    if not line:
        raise SystemExit(f"the hub did not start: {(DEMO / 'hub.log').read_text(encoding='utf-8')[-2000:]}")
    hub = dict(json.loads(line), pid=process.pid, started=start_time(process.pid))
    HUB_FILE.write_text(json.dumps(hub), encoding="utf-8")
    return str(hub["url"])


def start_time(pid: int) -> str:
    """Field 22 of /proc/PID/stat: with it a pid means one process and not a later one with the same number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""


def hub_is_ours(hub: dict[str, t.Any]) -> bool:
    """Whether the recorded hub process still lives."""
    return bool(hub.get("started")) and start_time(int(hub["pid"])) == hub["started"]


def write_variables(name: str, content: dict[str, t.Any]) -> Path:
    """Extra variables as JSON, which Ansible reads as YAML."""
    path = DEMO / name
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def playbook(name: str, variables: Path, *arguments: str) -> int:
    """Run one playbook of the collection as an operator would; the number of changes it reports."""
    command = [str(BIN / "ansible-playbook"), "-i", str(ROOT / "inventories/localhost"), f"venom.llm.{name}", "-e", f"@{variables}", *arguments]
    say("$ " + " ".join(word.replace(str(ROOT) + "/", "") for word in ["ansible-playbook", *command[1:]]) + "\n")
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        output = []
        for line in process.stdout or []:
            output.append(line)
            print(line, end="", flush=True)
    if process.returncode:
        raise SystemExit(f"venom.llm.{name} ended with status {process.returncode}; what was running before still runs")
    recap = re.findall(r"changed=(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", "".join(output)))
    return int(recap[-1]) if recap else 0


def ask(variables: Path) -> dict[str, t.Any]:
    """What the info modules say of this machine, through Ansible."""
    answers = DEMO / "answers.json"
    command = [str(BIN / "ansible-playbook"), "-i", str(ROOT / "inventories/localhost"), str(ROOT / "tests/demo/ask.yml")]
    command += ["-e", f"@{variables}", "-e", f"answers={answers}"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the question to this machine failed: {done.stdout}{done.stderr}")
    found: dict[str, t.Any] = json.loads(answers.read_text(encoding="utf-8"))
    return found


def complete(endpoint: str, alias: str) -> str:
    """What the served model says to one question, through the API that clients use."""
    body = {"model": alias, "messages": [{"role": "user", "content": "Who are you?"}], "temperature": 0, "max_tokens": 32}
    request = urllib.request.Request(f"{endpoint}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return str(json.load(response)["choices"][0]["message"]["content"]).strip()


def narrate(variables: Path, model: str) -> None:
    """What was planned, fetched, verified, started and proved, from the host's own records and from the server itself."""
    answer = ask(variables)
    entry = next(item for item in answer["models"] if item["name"] == model)
    status = answer["status"]
    alias, root = status["served_models"][0], status["served_roots"][0]
    say(f"\nIn plain words, for {model}:")
    say(f"  planned   {len(entry['files'])} files, {entry['size_bytes']} bytes, at commit {entry['revision']}")
    operation = next(item for item in answer["operations"] if item["model"] == model and item["type"] == "install")
    say(f"  fetched   {operation['bytes']} of {operation['bytes_total']} bytes in {operation['duration_seconds']} s: {operation['status']}")
    for record in entry["files"]:
        say(f"  verified  {record['digest']}  {record['size']:>9}  {record['path']}")
    say(f"  published {entry['local_path']}")
    say(f"  started   vLLM under the supervisor {status['supervisor']}, pid {status['pid']}")
    say(f"  proved    {status['endpoint']}/v1/models says id {alias!r}, root {root}")
    say(f"  status    {status['status']}, {status['memory_mb']} MB of memory")
    say(f"  endpoint  {status['endpoint']}/v1/chat/completions")
    say(f"  asked     Who are you?\n  answered  {complete(status['endpoint'], alias)}")


def show() -> None:
    """The whole demo."""
    say("This shows the main job of venom.llm on this machine: a declared model is fetched, verified, served and proved.")
    say(f"Everything goes into {DEMO}. The first run installs vLLM there (about 3.4 GB; one to three minutes and more on a slow line).")
    url = start_hub()
    port = free_port(int(os.environ.get("VENOM_DEMO_PORT", "8001")))
    common = {
        "venom_hf_endpoint": url,
        # The demo is about vLLM; a release of Ollama is another gigabyte.
        "venom_ollama_managed": False,
        "venom_python": sys.executable if sys.prefix == sys.base_prefix else os.path.realpath(sys.executable),
        "venom_vllm_port": port,
        "venom_vllm_args": ["--max-model-len", "256", "--enforce-eager"],
        "venom_vllm_environment": {"VLLM_CPU_KVCACHE_SPACE": "1"},
    }
    if HUB_FILE.with_name("settings.json").exists():
        common = json.loads(HUB_FILE.with_name("settings.json").read_text(encoding="utf-8")) | {"venom_hf_endpoint": url}
    HUB_FILE.with_name("settings.json").write_text(json.dumps(common), encoding="utf-8")
    first = write_variables("first.json", {**common, "venom_models": [{"name": AURORA, "alias": "aurora"}], "venom_active": {"vllm": AURORA}})
    both = [{"name": AURORA, "alias": "aurora"}, {"name": BOREALIS, "alias": "borealis"}]
    second = write_variables("second.json", {**common, "venom_models": both, "venom_active": {"vllm": BOREALIS}})

    title(f"1. The hub at {url} has two generated models. One playbook takes this machine to a served {AURORA}.")
    began = time.monotonic()
    playbook("site", first)
    say(f"\nThat took {time.monotonic() - began:.0f} s.")
    narrate(first, AURORA)

    title("2. The same command again: nothing changes.")
    changed = playbook("site", first)
    say(f"\nSecond run: changed={changed}")
    if changed:
        raise SystemExit("The second run changed something, which is a defect.")

    title(f"3. A second model is declared and made active: the switch to {BOREALIS}.")
    say(second.read_text(encoding="utf-8"))
    playbook("site", second)
    narrate(second, BOREALIS)

    title("Done")
    say("To serve a real model from the real hub, change the line with the name and leave venom_hf_endpoint out:")
    say("  venom_models: [{name: HuggingFaceTB/SmolLM2-135M-Instruct, alias: smollm2}]    venom_active: {vllm: smollm2}")
    say("The server keeps running. `make demo-clean` stops it and leaves nothing.")


def clean() -> None:
    """Stop the server through the collection and the hub by its own record."""
    settings = DEMO / "settings.json"
    if settings.exists() and (HOME / "etc").exists():
        playbook(
            "remove", settings, "-e", "venom_remove_all=true", "-e", "venom_remove_models=true", "-e", "venom_remove_confirm='remove everything'"
        )
    if HUB_FILE.exists():
        hub = json.loads(HUB_FILE.read_text(encoding="utf-8"))
        if hub_is_ours(hub):
            os.kill(int(hub["pid"]), signal.SIGTERM)


def main() -> None:
    """Show or clean."""
    parser = argparse.ArgumentParser(description="The main job of venom.llm, shown on this machine.")
    parser.add_argument("--clean", action="store_true", help="stop what the demo started")
    if parser.parse_args().clean:
        clean()
    else:
        show()


if __name__ == "__main__":
    main()
