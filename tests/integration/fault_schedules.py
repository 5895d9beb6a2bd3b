# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fault schedules: from a seed to a model, options, and faults, each with the reason codes that it excuses.

A schedule is data and depends on its seed alone. What it expects of a run: a failure has to have a code of a fault that struck, and a run
that only met faults which its tries cure has to succeed.
"""
from __future__ import annotations

import json
import random
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from lab.hub import HOSTILE_NAMES
from lab.models import ollama_layers, safetensors
from lab.models.tiny_gguf import gguf

#: What a strike of a fault may lead to.
HARMLESS = "harmless"  # nothing that anybody should notice
TRY = "try"  # each strike costs a try
WRONG = "wrong"  # one strike is cured by fetching the file again, a second one on the same file need not be
OPEN = "open"  # success or failure
FATAL = "fatal"  # a run that met it must not succeed

KIB, MIB = 1024, 1024 * 1024
#: Planning reads so many bytes of the weights before any digest can speak of them, so a flip there is a malformed header.
_HEADER = 256 * KIB
#: JSON that is more than a parser may take.
_LONG = ("[" * 100000, "NaN", "9" * 6000)
_NOISE = random.Random(7).randbytes(4 * MIB)

GONE = frozenset({"hub_unreachable"})
BUSY = frozenset({"rate_limited"})
ODD = frozenset({"unsupported_source"})
BAD = frozenset({"digest_mismatch"})
ELSEWHERE = frozenset({"redirect_refused"})
#: A size that lies is found by the limits, by the length of an answer, or by the digest.
SIZE = ODD | BAD | {"disk_full", "quota_exceeded", "confirmation_required"}


@dataclass(frozen=True)
class Strike:
    """A fault of a hub or a registry; ``{foreign}`` and ``{own}`` in its location are put in when it is set up."""

    kind: str
    options: t.Mapping[str, t.Any]
    codes: frozenset[str]
    cure: str

    def __str__(self) -> str:
        options = ", ".join(f"{key}={repr(value)[:120]}" for key, value in self.options.items())
        return f"{self.kind}({options}) -> {self.cure} {'|'.join(sorted(self.codes))}"


@dataclass(frozen=True)
class Target:
    """Requests that a fault strikes. ``what``: ``api`` (listings, manifests), ``hop`` (answers that redirect), ``file`` or ``token``."""

    path: str
    what: str
    size: int = 0
    options: t.Mapping[str, t.Any] = field(default_factory=dict)
    is_weights: bool = False


@dataclass(frozen=True)
class Schedule:
    """Everything that a run needs. ``flow`` is ``hub``, ``store`` or ``api``; ``left`` is what an earlier run left: '', 'partial', 'rotten'."""

    seed: int
    flow: str
    layout: str
    weights: int
    extras: tuple[str, ...]
    earlier: bool
    left: str
    login: str
    mode: str
    max_parallel: int
    retries: int
    strikes: tuple[Strike, ...]

    @property
    def repository(self) -> str:
        """Name of the model at its source."""
        return f"a/s{self.seed}" if self.flow == "hub" else f"library/s{self.seed}"

    @property
    def stall_timeout(self) -> float:
        """Seconds; short where something hangs, else so long that a busy machine does not look like a stalled line."""
        return 0.5 if any(strike.kind == "hang" for strike in self.strikes) else 8.0

    def __str__(self) -> str:
        facts = {key: value for key, value in vars(self).items() if key != "strikes"}
        return f"{facts}\n" + "\n".join(f"    {strike}" for strike in self.strikes)


def schedule(seed: int) -> Schedule:
    """The schedule of a seed: of 25 in a row 14 go to the hub, 8 into an Ollama store, 3 through an Ollama server."""
    rng = random.Random(f"venom {seed}")
    place = seed % 25
    flow = "hub" if place < 14 else "store" if place < 22 else "api"
    weights = rng.choice([0, rng.randint(1, 64), rng.randint(64, 200 * KIB), rng.randint(300 * KIB, 2 * MIB), rng.randint(2 * MIB, 6 * MIB)])
    if rng.random() < 0.14:
        weights = rng.randint(14 * MIB, 22 * MIB)
    layout = "gguf" if flow != "hub" else rng.choice(["one", "one", "shards", "gguf"])
    extras = tuple(name for name in ("README.md", "empty.txt", "sub/copy.md", "vocab.txt") if rng.random() < 0.45)
    left = rng.choice(["partial", "rotten"]) if flow != "api" and weights > 5 * MIB and layout != "shards" and rng.random() < 0.5 else ""
    login = rng.choice(["", "", "token"] if flow == "hub" else ["none", "none", "basic", "bearer"]) if flow != "api" else "none"
    mode = rng.choice(["307", "307", "307-same-host", "200", "200-location"]) if flow == "store" else "307"
    drawn = Schedule(
        seed, flow, layout, weights, extras, not left and rng.random() < 0.35, left, login, mode, rng.randint(1, 8), rng.randint(1, 4), ()
    )
    count = rng.choice([1, 1, 2, 2, 3, 4, 5])
    strikes: list[Strike] = []
    while len(strikes) < count:
        strike = (_of_hub if flow == "hub" else _of_registry)(rng, drawn)
        # Two lies of one listing may undo each other, and then nobody can say what is right.
        if not (strike.kind == "listing" and any(other.kind == "listing" for other in strikes)):
            strikes.append(_at_a_server(strike) if flow == "api" else strike)
    return Schedule(**{**vars(drawn), "strikes": tuple(strikes)})


# Faults


def _of_hub(rng: random.Random, drawn: Schedule) -> Strike:
    name = drawn.repository
    tree = Target(f"/api/models/{name}/tree/*", "api")
    pattern = "*.gguf" if drawn.layout == "gguf" else "*.safetensors"
    size = max(1, drawn.weights // (2 if drawn.layout == "shards" else 1))
    weights = Target(f"/lfs/{name}/*", "file", size, is_weights=True)
    small = Target(f"/{name}/resolve/*.json", "file", 40)
    hop = Target(f"/{name}/resolve/*{pattern[1:]}", "hop")
    target = rng.choice([Target(f"/api/models/{name}/revision/*", "api"), tree, weights, weights, weights, small, small, hop])
    if rng.random() < 0.17:
        return _listing(rng, drawn, tree, pattern)
    return _fault(rng, drawn, target)


def _of_registry(rng: random.Random, drawn: Schedule) -> Strike:
    name = drawn.repository
    manifest = Target(f"/v2/{name}/manifests/*", "api")
    bytes_path = "/cdn/*" if drawn.mode.startswith("307") else f"/v2/{name}/blobs/*"
    blobs = Target(bytes_path, "file", max(2000, drawn.weights), is_weights=True)
    targets = [manifest, manifest, blobs, blobs, blobs]
    if drawn.mode.startswith("307"):
        targets.append(Target(f"/v2/{name}/blobs/*", "hop"))
    if drawn.login == "bearer":
        targets += [Target("/token", "token")] * 2
    if rng.random() < 0.12:
        return _manifest(rng, manifest)
    return _fault(rng, drawn, rng.choice(targets))


def _times(rng: random.Random) -> int:
    return rng.choice([1, 1, 1, 1, 2, 2, 3, -1])


def _strike(kind: str, target: Target, codes: frozenset[str], cure: str, **options: t.Any) -> Strike:
    if options.get("times") == -1 and cure == TRY:
        cure = FATAL
    return Strike(kind, {"path": target.path, **target.options, **options}, codes, cure)


def _at_a_server(strike: Strike) -> Strike:
    """The same fault where Ollama's server asks, too, in its own way. Only what keeps the manifest from the plan surely ends a run."""
    is_certain = strike.options.get("times") == -1 and "/manifests/" in strike.options["path"]
    return strike if is_certain or strike.cure != FATAL else Strike(strike.kind, strike.options, strike.codes, OPEN)


def _fault(rng: random.Random, drawn: Schedule, target: Target) -> Strike:
    makers = [_status, _status, _status, _drop, _drop, _redirect, _denied]
    if target.what == "file":
        makers += [_cut, _cut, _flip, _flip, _flip, _range, _range, _range, _length, _etag, _etag, _gzip, _gzip, _ignore, _slow]
    elif target.what in ("api", "token"):
        makers += [_cut, _length, _garbled, _page]
    if rng.random() < 0.025:
        return _hang(rng, drawn, target)
    return rng.choice(makers)(rng, drawn, target)


def _status(rng: random.Random, dummy: Schedule, target: Target) -> Strike:
    """Trouble that may pass; a server that wants to be left alone for too long is not asked again."""
    status, times = rng.choice([429, 429, 500, 502, 503, 503, 504, 408, 425]), _times(rng)
    wait = rng.choice([None, None, 0, "0", "soon", "-1", "Wed, 21 Oct 2015 07:28:00 GMT", "Tue, 99 Foo 2015", "1e9", 4000, "9" * 25])
    headers = {}
    if status == 429 and wait is None:
        headers = rng.choice([{}, {"RateLimit": '"api";r=0;t=0'}, {"RateLimit": '"api";r=0;t=3600'}, {"RateLimit": "nonsense"}])
    is_long = wait in (4000, "9" * 25) or "t=3600" in str(headers)
    codes = BUSY if status == 429 else GONE
    return _strike("status", target, codes, FATAL if is_long else TRY, status=status, times=times, retry_after=wait, headers=headers)


def _drop(rng: random.Random, dummy: Schedule, target: Target) -> Strike:
    return _strike("drop", target, GONE, TRY, how=rng.choice(["fin", "rst"]), times=_times(rng))


def _cut(rng: random.Random, drawn: Schedule, target: Target) -> Strike:
    times = _times(rng)
    after = rng.choice([0, 1, rng.randrange(max(1, target.size))]) if target.what == "file" else rng.choice([0, 1, 30])
    # A line that is always cut, but far enough on, is slow and not broken.
    cure = OPEN if times == -1 and after else TRY
    return _strike("cut", target, GONE, cure, after=after, how=rng.choice(["fin", "rst"]), times=times)


def _flip(rng: random.Random, drawn: Schedule, target: Target) -> Strike:
    times = rng.choice([1, 1, 1, 2, -1])
    offset = rng.choice([0, rng.randrange(target.size), rng.randrange(target.size), target.size - 1])
    codes = BAD | ODD if target.is_weights and offset < _HEADER else BAD
    if times == -1:
        # Bytes that are here already are not asked for again.
        cure = OPEN if drawn.left or drawn.earlier else FATAL
    else:
        cure = OPEN if "unsupported_source" in codes else WRONG
    return _strike("flip", target, codes, cure, offset=offset, times=times)


def _range(rng: random.Random, dummy: Schedule, target: Target) -> Strike:
    what = rng.choice(["start", "end", "total", "drop"])
    return _strike("content_range", target, ODD, TRY, what=what, delta=rng.choice([1, -1, 4096]), times=_times(rng))


def _length(rng: random.Random, dummy: Schedule, target: Target) -> Strike:
    delta = rng.choice([1, -1, 1, -1, 100000])
    if target.what == "file":
        return _strike("length", target, ODD, TRY, delta=delta, times=_times(rng))
    # Small answers that are short of a byte are no JSON, or not the manifest whose digest the header tells.
    return _strike("length", target, GONE if delta > 0 else ODD | BAD, TRY if delta > 0 else OPEN, delta=delta, times=_times(rng))


def _etag(rng: random.Random, dummy: Schedule, target: Target) -> Strike:
    return _strike("etag", target, frozenset(), HARMLESS, times=rng.choice([1, 2, -1]), value=rng.choice(["", "", "fixed", "\u00e4"]))


def _gzip(rng: random.Random, dummy: Schedule, target: Target) -> Strike:
    return _strike("gzip", target, ODD, TRY, times=_times(rng))


def _ignore(rng: random.Random, dummy: Schedule, target: Target) -> Strike:
    return _strike("ignore_range", target, frozenset(), HARMLESS, times=rng.choice([1, 2, -1]))


def _slow(rng: random.Random, dummy: Schedule, target: Target) -> Strike:
    return _strike("slow", target, frozenset(), HARMLESS, rate=max(200000.0, target.size * rng.uniform(3.0, 8.0)))


def _hang(rng: random.Random, dummy: Schedule, target: Target) -> Strike:
    is_body = target.what == "file" and rng.random() < 0.5
    after = rng.randrange(max(1, target.size)) if is_body else 0
    when = "body" if is_body else "headers"
    return _strike("hang", target, GONE, TRY, when=when, after=after, seconds=1.2, times=1)


def _redirect(rng: random.Random, dummy: Schedule, target: Target) -> Strike:
    """To where nobody allowed it, or in a circle. An answer that is final at once, however often it would come."""
    location = rng.choice(
        [
            "{foreign}{path}",
            "{foreign}{path}",
            "{foreign_host}/x",
            "{own_login}@{foreign_name}{path}",
            "http://169.254.169.254/latest/meta-data",
            "https://{foreign_name}/x",
            "file:///etc/passwd",
            "{own}{path}",
            "http://[::1/x",
            "http://a:99999999/x",
            "//[/x",
        ]
    )
    times = -1 if location.startswith("{own}") else rng.choice([1, -1])
    return _strike("redirect", target, ELSEWHERE, FATAL, location=location, times=times)


def _denied(rng: random.Random, drawn: Schedule, target: Target) -> Strike:
    """No, for now or for ever. A login that was refused once is made again; a link that was refused is asked for again."""
    status, code = rng.choice([(401, ""), (403, ""), (403, "GatedRepo"), (404, ""), (404, "RevisionNotFound"), (410, ""), (400, ""), (418, "")])
    if status in (401, 403):
        codes = frozenset({"unauthorized", "not_found", "gated"} if drawn.flow == "hub" else {"unauthorized"})
    elif status == 404:
        codes = frozenset({"not_found", "revision_not_found"})
    else:
        codes = ODD
    if target.what == "token":
        codes |= ODD
    return _strike("status", target, codes, OPEN, status=status, error_code=code, times=rng.choice([1, -1]))


def _garbled(rng: random.Random, drawn: Schedule, target: Target) -> Strike:
    return _strike("flip", target, ODD | BAD if target.what == "api" else ODD | {"unauthorized"}, OPEN, offset=rng.choice([0, 1, 20, 60]), times=1)


def _page(rng: random.Random, dummy: Schedule, target: Target) -> Strike:
    """A page of a proxy, or JSON that is something else, with status 200."""
    body = rng.choice([None, "", "{}", "[]", "null", '"x"', "[[]]", "[{}]", '{"sha": "../../x"}', '{"token": "a\\nb: c"}', *_LONG])
    # huggingface_hub walks over whatever comes: over nothing in a list, over the keys of an object. That is an empty repository.
    codes = ODD | BAD | {"not_found"} if body in ("[]", "{}") else ODD | BAD
    return _strike("status", target, codes, FATAL, status=200, body=body, times=rng.choice([1, -1]))


def _listing(rng: random.Random, drawn: Schedule, tree: Target, pattern: str) -> Strike:
    what = rng.choice(["size", "size", "sha256", "oid", "no_lfs", "drop", "empty", "add", "hostile", "name"])
    file = rng.choice([pattern, "*.json", "config.json"])
    options: dict[str, t.Any] = {"what": what, "file": file}
    # What is here already under the announced digest is not looked at again.
    lie = OPEN if drawn.earlier else FATAL
    codes, cure = BAD, FATAL
    if what == "size":
        options["value"] = rng.choice([0, 1, 7, 41, drawn.weights + 3, 30 * 10**9, 2**62])
        codes, cure = SIZE, lie
    elif what == "sha256":
        options.update(file=pattern, value=rng.choice(["0" * 64, "f" * 64, "../../evil", "F" * 64, "0" * 63]))
        codes = BAD if options["value"] in ("0" * 64, "f" * 64) else frozenset({"invalid_name"}) | BAD
    elif what == "oid":
        # Files in the LFS store have a digest of their own.
        options.update(file=rng.choice([pattern, "*.json"]), value=rng.choice(["0" * 40, "../../evil", "0" * 39, "0" * 64]))
        codes = BAD | {"invalid_name"} | ODD
        codes, cure = (frozenset(), HARMLESS) if options["file"] == pattern else (codes, FATAL)
    elif what == "no_lfs":
        options["file"] = pattern
    elif what == "drop":
        # Nobody can know of a file that is not listed, unless an index names it; of none at all it can.
        codes, cure = ODD | {"not_found"}, OPEN
    elif what == "empty":
        codes = frozenset({"not_found"})
    elif what == "add":
        options["names"] = ["sub/extra.txt"]
    else:
        options.update(what="add" if what == "name" else "hostile", names=[rng.choice(HOSTILE_NAMES)])
        codes = frozenset({"invalid_name"})
    return _strike("listing", tree, codes, cure, **options)


_DIGEST = "sha256:" + "0" * 64


def _manifest(rng: random.Random, target: Target) -> Strike:
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": _DIGEST, "size": 10}

    def written(**changes: t.Any) -> str:
        layers = [{**config, "mediaType": "application/vnd.ollama.image.model", **changes}]
        return json.dumps({"schemaVersion": 2, "config": config, "layers": layers})

    value, codes = rng.choice(
        [
            ("", ODD),
            ("<html>", ODD),
            ("[]", ODD),
            ("{}", ODD),
            ("[" * 100000, ODD),
            (written(digest="sha256:../../evil"), ODD),
            (written(digest="sha512:" + "0" * 128), ODD),
            (written(size=-1), ODD),
            (written(size=True), ODD),
            (written(size=2**62), SIZE),
            (written(size=11), ODD),
            (json.dumps({"schemaVersion": 2, "manifests": []}), ODD),
            (json.dumps({"schemaVersion": 2, "config": config, "layers": []}), ODD),
            # Blobs that the registry does not have.
            (json.dumps({"schemaVersion": 2, "config": config, "layers": [{**config, "digest": "sha256:" + "1" * 64}]}), frozenset({"not_found"})),
        ]
    )
    what = rng.choice(["", "false", "true"])
    return _strike("manifest", target, codes | BAD if what == "true" else codes, FATAL, value=value, what=what, times=-1)


# Models


def build_hub_model(folder: Path, drawn: Schedule, version: int) -> Path:
    """The files of a repository. Two versions differ in weights and configuration and share the rest."""
    folder.mkdir(parents=True)
    start = (drawn.seed * 7919 + version * 104729) % len(_NOISE)
    if drawn.layout == "gguf":
        gguf(folder, name="model", seed=f"{drawn.seed} {version}", pad_mb=drawn.weights / 1e6)
        (folder / "README.md").unlink()
    else:
        shards = 2 if drawn.layout == "shards" else 1
        count = drawn.weights // (4 * shards)
        noise = (_NOISE[start:] + _NOISE * 6)[: 4 * count]
        tensors = [safetensors.fixed(f"t{number}", (count, 2), noise) for number in range(shards)]
        safetensors.write_model(folder, tensors, shards)
    safetensors.write_json(folder / "config.json", {"architectures": ["TestModel"], "max_position_embeddings": 128, "seed": [drawn.seed, version]})
    safetensors.write_json(folder / "tokenizer_config.json", {"chat_template": "{{ messages }}", "seed": drawn.seed})
    texts = {"README.md": b"# read me\n", "empty.txt": b"", "sub/copy.md": b"# read me\n", "vocab.txt": _NOISE[: 300 * KIB + start % (3 * MIB)]}
    for name in drawn.extras:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(texts[name])
    return folder


def build_ollama_model(folder: Path, drawn: Schedule, version: int) -> tuple[dict[str, t.Any], list[tuple[str, Path]]]:
    """Configuration and layers of a model; two versions share the template."""
    return ollama_layers(folder, drawn.weights / 1e6, drawn.seed * 10 + version)
