# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gather what tells why a host misbehaves into one archive, secrets masked. Standard library only: it has to run where nothing else does.

Reads one JSON object from standard input: the folders of the collection, and under ``answers`` what its modules said. Prints one: the
path of the archive and what is missing in it. Every item is bounded in time and size, and one that fails is a line in index.json.
"""
from __future__ import annotations

import io
import json
import os
import platform
import re
import stat
import subprocess
import sys
import tarfile
import tempfile
import time

#: Bytes of one item, and of all together before compression; seconds of one command, and of all together.
ITEM_BYTES = 512 * 1024
TOTAL_BYTES = 8 * 1024 * 1024
COMMAND_SECONDS = 10
TOTAL_SECONDS = 90
LISTED = 2000
UNITS = ("venom-vllm", "venom-ollama", "venom-monitoring", "ollama", "vllm")
MASK = "***"
#: What names a secret, in a variable, an option, a key of JSON or a header.
_SECRET_NAME = re.compile(r"(?i)KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|(?:\A|[_.-])PASS\Z|CREDENTIAL")
#: Names that only look like it, and whose values an operator needs.
_HARMLESS = re.compile(
    r"(?i)\A(?:[a-z_.-]*(?:max|num|min|total|prompt|completion|new|batched|generated)[a-z_.-]*tokens|tokens|tokenizer[\w.-]*|[a-z_]*token_ids?|"
    r"(?:bos|eos|pad|unk|sep|cls|mask)_token|keyring\w*|keys|special_tokens_map[\w.]*|added_tokens[\w.]*)\Z"
)
#: What is between an option and its value: space, the end of a line that goes on, or the comma of a list of words.
_GAP = r"""(?:(?:[ \t]|\\\n)+|["'][ \t\n]{0,99},[ \t\n]{0,99}["'])"""
#: An option with its value in the next word, or a name with its value behind = or :. Names are taken whole: a text of one endless word
#: has one beginning.
_NAME = re.compile(r"""(?<![\w.-])(?:(-{1,2}[\w.-]{1,200})""" + _GAP + r"""(?=[^-\s])|([\w.-]{1,200})(["']?[ \t]{0,4}[=:][ \t]{0,4}))""", re.ASCII)
#: Values of an option, of which --api-key has any number: to the next option, the quote around the command, or what systemd puts behind it.
_WORD = r"""(?!-|;[ \t])(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s'"]+)"""
_WORDS = re.compile(_WORD + "(?:" + _GAP + _WORD + ")*")
#: Characters in which a bracket that opens behind the name of a secret has to close; without an end all of them are masked.
_BRACKETED = 4096
_VALUE = re.compile(r"""(?:(?i:bearer|basic)[ \t]+)?("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s,;'"}\]]+)""")
#: The same in an environment file: values there may hold spaces and run over several lines.
_LINE_START = re.compile(r"\n[ \t]*(?:export[ \t]+)?\Z")
_LINE_VALUE = re.compile(r"""("(?:[^"\\]|\\[\s\S])*"[^\n]*|'[^']*'[^\n]*|(?:[^\n\\]|\\[\s\S])+)""")
#: The rest of what stands in quotes: those of another text are escaped.
_IN_ESCAPED_QUOTES = re.compile(r"""[^"'\\\n]+""")
_IN_SINGLE_QUOTES = re.compile(r"""[^'\n]+""")
_IN_DOUBLE_QUOTES = re.compile(r"""(?:[^"\\\n]|\\.)+""")
#: Each pattern keeps its first group and masks the second.
_PATTERNS = [
    # Headers, to the end of their line or string.
    re.compile(
        r"""((?i:\b(?:proxy-)?authorization|\b(?:set-)?cookie)["']?[ \t]{0,4}[=:][ \t]{0,4})("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s"'][^\n]*)"""
    ),
    re.compile(r"((?i:\bbearer[ \t]{1,4}|\bbasic[ \t]{1,4}))([A-Za-z0-9._~+/=-]{6,})"),
    # The password of a URL, scheme://user:password@host, and a token in the place of the user.
    re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s/:@]{0,128}:)([^\s/]{1,512})(?=@)"),
    re.compile(r"(https?://)([^\s/:@]{16,512})(?=@)"),
    # Signed links of storage hosts.
    re.compile(r"((?i:[?&](?:x-amz-signature|signature|sig|policy)=))([^\s&\"']+)"),
    # Tokens that are known by their form, wherever they stand.
    re.compile(r"()(\b(?:hf|gh[pousr]|github_pat|sk|xox[abp]|glpat|nvapi)[_-][A-Za-z0-9_-]{8,})"),
    re.compile(r"()(\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+)"),
]
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL)


def mask(text):
    """The text without secrets. When in doubt a value is masked: the archive leaves the house, and a question can be asked again."""
    text = _PRIVATE_KEY.sub("-----PRIVATE KEY " + MASK + "-----", text)
    for pattern in _PATTERNS:
        text = pattern.sub(lambda match: match.group(1) + _hidden(match.group(2)), text)
    return _mask_named(text)


def _hidden(value):
    """The mask, in the quotes of the value, so that JSON stays JSON."""
    quote = value[0] if value[0] in "\"'" else ""
    return quote + MASK + quote


def _is_secret(name):
    return _SECRET_NAME.search(name) is not None and not _HARMLESS.match(name.lstrip("-"))


def _mask_named(text):
    """Mask every value whose name says that it is a secret."""
    shown, position = [], 0
    while True:
        found = _NAME.search(text, position)
        if found is None:
            return "".join(shown) + text[position:]
        name, end = found.group(1) or found.group(2), found.end()
        shown.append(text[position:end])
        position = end
        if not _is_secret(name):
            continue
        before = "\n" * (found.start() < 12) + text[max(0, found.start() - 12):found.start()]
        is_line = found.group(2) and found.group(3).strip() == "=" and _LINE_START.search(before)
        pattern = _WORDS if found.group(1) else _LINE_VALUE if is_line else _quoted_before(text, found)
        if pattern is None and text[position:position + 1] in tuple("[({"):
            value = _bracketed(text, position)
            shown.append(_hidden_list(value))
            position += len(value)
            continue
        value = (pattern or _VALUE).match(text, position)
        if value is not None:
            shown.append(_hidden(value.group(value.lastindex or 0)))
            position = value.end()


def _quoted_before(text, found):
    """What matches a value when the quote opened before its name, as in "API_KEY=two words"; None where none did."""
    start = found.start()
    quote = text[start - 1:start]
    if quote not in ("'", '"') or "'" in found.group(3) or '"' in found.group(3):
        return None
    if found.group(2).startswith("-"):
        # It may be one word of a shell, or a whole command line that begins with this option.
        return _WORDS
    if text[start - 2:start - 1] == "\\":
        return _IN_ESCAPED_QUOTES
    return _IN_SINGLE_QUOTES if quote == "'" else _IN_DOUBLE_QUOTES


def _bracketed(text, position):
    """The list, object or tuple that begins there, with its bracket at the end if there is one."""
    depth, quote, index = 0, "", position
    end = min(len(text), position + _BRACKETED)
    while index < end:
        character = text[index]
        if quote:
            if character == "\\":
                index += 1
            elif character == quote:
                quote = ""
        elif character in "\"'":
            quote = character
        elif character in "[({":
            depth += 1
        elif character in "])}":
            depth -= 1
            if depth == 0:
                return text[position:index + 1]
        index += 1
    return text[position:end]


def _hidden_list(value):
    """The mask for all of a list, in its brackets and the quotes of its items, so that JSON stays JSON."""
    closing = value[-1] if value[-1] in "])}" else ""
    inner = value[1:len(value) - len(closing)].strip()
    if not inner:
        return value
    one = _hidden(inner)
    return value[0] + ("%s: %s" % (one, one) if value[0] == "{" and ":" in inner else one) + closing


def mask_arguments(argv):
    """A command line; each value of a secret option is masked as one word, spaces included."""
    shown, is_value = [], False
    for word in argv:
        if word.startswith("-"):
            is_value = "=" not in word and _is_secret(word)
            shown.append(mask(word))
        else:
            shown.append(MASK if is_value else mask(word))
    return " ".join(shown)


class Archive:
    """The items as they come; what does not fit, or fails, is told in the index."""

    def __init__(self, begun=None):
        self.items = {}
        self.index = []
        self.begun = time.monotonic() if begun is None else begun
        self.total = 0

    def add(self, name, text, **about):
        """One item. The end of it is kept when it is too long, which is where a log has its news."""
        text = mask(text)
        data = text.encode("utf-8", "replace")
        left = min(ITEM_BYTES, max(0, TOTAL_BYTES - self.total))
        truncated = len(data) > left
        if truncated:
            data = data[len(data) - left:]
        self.total += len(data)
        if data:
            self.items[name] = data
        self.index.append(dict(about, name=name, bytes=len(data), truncated=truncated))

    def fail(self, name, error):
        """An item that cannot be had."""
        self.index.append({"name": name, "error": mask(str(error))})

    def call(self, name, function):
        """An item out of a function, whatever it does."""
        try:
            text = function()
            self.add(name, text if isinstance(text, str) else json.dumps(text, indent=1, default=str))
        except Exception as error:
            self.fail(name, "%s: %s" % (type(error).__name__, error))

    def command(self, name, argv):
        """What a command prints; one that hangs is left behind."""
        if time.monotonic() - self.begun > TOTAL_SECONDS:
            self.fail(name, "there was no time left for it")
            return
        try:
            done = subprocess.run(
                argv, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=COMMAND_SECONDS,
                env=dict(os.environ, LC_ALL="C", SYSTEMD_PAGER="", SYSTEMD_COLORS="0", PAGER="cat"),
            )
            self.add(name, done.stdout.decode("utf-8", "replace"), command=argv, status=done.returncode)
        except FileNotFoundError:
            self.fail(name, "%s is not on this host" % argv[0])
        except (OSError, subprocess.SubprocessError) as error:
            self.fail(name, error)

    def file(self, name, path, limit=ITEM_BYTES):
        """The end of a file."""
        try:
            # A pipe would hold an ordinary open until somebody writes to it.
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode) and not path.startswith(("/proc/", "/sys/")):
                    raise OSError("it is no ordinary file")
                size = os.fstat(stream.fileno()).st_size
                stream.seek(max(0, size - limit))
                data = stream.read(limit)
            if size > limit:
                # Half a line may be the half without the name of its secret.
                data = data.partition(b"\n")[2]
            text = data.decode("utf-8", "replace")
            self.add(name, text, path=path, size=size)
        except OSError as error:
            self.fail(name, error)

    def write(self, host):
        """The archive in a temporary file that only this account may read. Returns its path."""
        self.items["index.json"] = json.dumps(self.index, indent=1, default=str).encode("utf-8")
        descriptor, path = tempfile.mkstemp(prefix="venom-diagnose-", suffix=".tar.gz")
        with os.fdopen(descriptor, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
            for name in sorted(self.items):
                member = tarfile.TarInfo("%s/%s" % (host, name))
                member.size, member.mode, member.mtime = len(self.items[name]), 0o600, int(time.time())
                archive.addfile(member, io.BytesIO(self.items[name]))
        return path


def pids():
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def read(path, limit=4096):
    try:
        with open(path, "rb") as stream:
            return stream.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""


def command_line(pid):
    return mask_arguments([word for word in read("/proc/%d/cmdline" % pid, 65536).split("\0") if word])


def process_table():
    """Pid, parent, account, state, memory and command line of every process."""
    lines = ["%8s %8s %8s %s %10s  %s" % ("PID", "PARENT", "UID", "S", "RSS_KIB", "COMMAND")]
    for pid in pids():
        facts = dict(line.split(":\t", 1) for line in read("/proc/%d/status" % pid).splitlines() if ":\t" in line)
        if not facts:
            continue
        command = command_line(pid) or "[%s]" % facts.get("Name", "?")
        rss = facts.get("VmRSS", "0 kB").split()[0]
        values = (pid, facts.get("PPid", "?"), facts.get("Uid", "?").split()[0], facts.get("State", "?")[0], rss, command[:1000])
        lines.append("%8s %8s %8s %s %10s  %s" % values)
    return "\n".join(lines) + "\n"


def is_ours(pid, marks):
    text = read("/proc/%d/cgroup" % pid) + read("/proc/%d/cmdline" % pid)
    return pid != os.getpid() and any(mark in text for mark in marks)


def open_files(marks):
    """Open files, limits and control group of the processes of the servers."""
    lines = []
    for pid in pids():
        if not is_ours(pid, marks):
            continue
        lines.append("== %d %s" % (pid, command_line(pid)[:300]))
        lines.append(read("/proc/%d/cgroup" % pid).strip())
        lines += [line for line in read("/proc/%d/limits" % pid).splitlines() if line.startswith(("Max open", "Max core", "Max processes"))]
        try:
            names = os.listdir("/proc/%d/fd" % pid)
        except OSError as error:
            lines.append("open files: %s" % error)
            continue
        for name in sorted(names, key=int)[:LISTED]:
            try:
                lines.append("%s -> %s" % (name, os.readlink("/proc/%d/fd/%s" % (pid, name))))
            except OSError:
                continue
    return "\n".join(lines) + "\n"


def listing(root):
    """Mode, owner, size and time of everything below a folder; no content."""
    lines, count = [], 0
    if not os.path.isdir(root):
        raise OSError("no folder %s" % root)
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in ["."] + sorted(names):
            count += 1
            if count > LISTED:
                return "\n".join(lines + ["... more than %d" % LISTED]) + "\n"
            path = os.path.normpath(os.path.join(folder, name))
            try:
                facts = os.lstat(path)
            except OSError as error:
                lines.append("%s: %s" % (path, error.strerror))
                continue
            moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(facts.st_mtime))
            target = " -> " + os.readlink(path) if stat.S_ISLNK(facts.st_mode) else ""
            lines.append("%s %5d %5d %12d %s %s%s" % (stat.filemode(facts.st_mode), facts.st_uid, facts.st_gid, facts.st_size, moment, path, target))
    return "\n".join(lines) + "\n"


def spaces(folders):
    """Bytes and inodes of the file system of each folder."""
    found = {}
    for folder in folders:
        try:
            facts = os.statvfs(folder)
            found[folder] = {
                "total_bytes": facts.f_blocks * facts.f_frsize, "free_bytes": facts.f_bavail * facts.f_frsize,
                "inodes": facts.f_files, "inodes_free": facts.f_favail,
            }
        except OSError as error:
            found[folder] = str(error)
    return found


def gather(wanted, archive):
    """All items."""
    folders = [wanted[name] for name in ("config_dir", "models_dir", "state_dir", "log_dir", "run_dir", "install_dir")]
    for name, answer in sorted(wanted.get("answers", {}).items()):
        archive.call("answers/%s.json" % name, lambda answer=answer: answer)
    archive.call("system.json", lambda: {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()), "host": platform.node(), "kernel": platform.version(),
        "release": platform.release(), "machine": platform.machine(), "python": sys.version, "load": os.getloadavg(), "uid": os.getuid(),
    })
    for path in ("/etc/os-release", "/proc/meminfo", "/proc/mounts", "/proc/uptime", "/proc/pressure/memory"):
        archive.file("system/" + path.strip("/").replace("/", "-"), path)
    for unit in UNITS:
        archive.command("units/%s.status" % unit, ["systemctl", "status", "--no-pager", "--full", "--lines=50", unit + ".service"])
        archive.command("units/%s.cat" % unit, ["systemctl", "cat", "--no-pager", unit + ".service"])
        archive.command("units/%s.show" % unit, ["systemctl", "show", "--no-pager", unit + ".service"])
        archive.command("units/%s.journal" % unit, ["journalctl", "--no-pager", "--lines=500", "--output=short-iso", "-u", unit + ".service"])
    archive.command("units/failed", ["systemctl", "list-units", "--no-pager", "--failed", "--all"])
    archive.command("units/timers", ["systemctl", "list-timers", "--no-pager", "--all"])
    archive.call("processes", process_table)
    archive.call("open-files", lambda: open_files(["venom", "vllm", "ollama", wanted["install_dir"]]))
    archive.command("ports/listening", ["ss", "-Hltnp"])
    archive.command("ports/connections", ["ss", "-Htnp"])
    archive.file("ports/tcp", "/proc/net/tcp")
    archive.file("ports/tcp6", "/proc/net/tcp6")
    archive.command("gpu/nvidia-smi", ["nvidia-smi", "-q"])
    archive.command("gpu/processes", ["nvidia-smi", "--query-compute-apps=pid,used_memory,gpu_uuid", "--format=csv"])
    archive.command("gpu/rocm-smi", ["rocm-smi", "--showmeminfo", "vram", "--showuse"])
    archive.file("gpu/driver", "/proc/driver/nvidia/version")
    archive.command("kernel", ["dmesg", "--ctime", "--level=emerg,alert,crit,err,warn"])
    archive.call("disk/spaces.json", lambda: spaces(folders + ["/", tempfile.gettempdir()]))
    archive.command("disk/df", ["df", "-h"])
    for name in ("config_dir", "models_dir", "log_dir", "run_dir"):
        archive.call("disk/%s.list" % name, lambda name=name: listing(wanted[name]))
    archive.file("config/manifest.json", os.path.join(wanted["models_dir"], "manifest.json"))
    try:
        # Not credentials/: those are secrets as a whole, and their owner and mode are in the listing.
        names = sorted(name for name in os.listdir(wanted["config_dir"]) if name.endswith((".env", ".json", ".last-good")))
    except OSError as error:
        names = []
        archive.fail("config", error)
    for name in names:
        archive.file("config/" + name, os.path.join(wanted["config_dir"], name))
    try:
        names = sorted(name for name in os.listdir(wanted["log_dir"]) if ".log" in name and not name.endswith((".gz", ".xz", ".zst")))
    except OSError as error:
        names = []
        archive.fail("logs", error)
    for name in names:
        archive.file("logs/" + name, os.path.join(wanted["log_dir"], name))


def main():
    os.umask(0o077)
    wanted = json.load(sys.stdin)
    archive = Archive()
    gather(wanted, archive)
    path = archive.write(wanted["host"])
    missing = ["%s: %s" % (item["name"], item["error"]) for item in archive.index if "error" in item]
    print(json.dumps({"path": path, "bytes": os.path.getsize(path), "items": len(archive.items), "missing": missing}))


if __name__ == "__main__":
    main()
