# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the README of every role from its ``meta/argument_specs.yml``, so that there is one place to keep right.

python3 tests/tools/role_readme.py            write
python3 tests/tools/role_readme.py --check    compare only; exit status 1 and a diff when a README is not up to date
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
import typing as t
from pathlib import Path

import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
#: Markup of Ansible documentation that has a plain equivalent in Markdown: C(code), I(option), E(environment), B(bold).
_CODE = re.compile(r"\b[CIEVO]\(((?:\\.|[^)])*)\)")
_BOLD = re.compile(r"\bB\(([^)]*)\)")


def as_lines(text: str | list[str] | None) -> list[str]:
    """A description, which may be one text or several, as paragraphs in Markdown."""
    parts = [text] if isinstance(text, str) else text or []
    return [_BOLD.sub(r"**\1**", _CODE.sub(r"`\1`", part.strip())) for part in parts]


def as_cell(text: str) -> str:
    """Text that does not end its table cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def as_default(option: dict[str, t.Any]) -> str:
    """The default as the inventory would say it."""
    if "default" not in option:
        return "required" if option.get("required") else ""
    return f"`{json.dumps(option['default'])}`"


def option_rows(options: dict[str, dict[str, t.Any]]) -> t.Iterator[str]:
    """The table of one entry point, in the order of the specification."""
    yield "| variable | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, option in options.items():
        kind = option.get("type", "str") + (f" of {option['elements']}" if "elements" in option else "")
        meaning = " ".join(as_lines(option.get("description")))
        if "choices" in option:
            meaning += f" One of {', '.join(f'`{choice}`' for choice in option['choices'])}."
        yield f"| `{name}` | {kind} | {as_cell(as_default(option))} | {as_cell(meaning)} |"


def stages(role: Path) -> list[str]:
    """What ``tasks/main.yml``, a table of contents, lists."""
    return [task["name"] for task in yaml.safe_load((role / "tasks" / "main.yml").read_text(encoding="utf-8"))]


def render(role: Path) -> str:
    """The README of the role in this folder."""
    entry_points = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    main = entry_points["main"]
    lines = [f"# venom.llm.{role.name}", "", main["short_description"] + ".", ""]
    for paragraph in as_lines(main.get("description")):
        lines += [paragraph, ""]
    lines += ["## Use", "", "```yaml", "- hosts: venom", "  become: true", "  roles:", f"    - role: venom.llm.{role.name}", "```", ""]
    lines += ["## Stages", ""] + [f"{number}. {name}" for number, name in enumerate(stages(role), 1)] + [""]
    seen: dict[str, t.Any] = {}
    for name, entry in entry_points.items():
        own = {key: value for key, value in (entry.get("options") or {}).items() if key not in seen}
        seen.update(own)
        if name != "main":
            lines += [f"## Entry point `{name}`", "", entry["short_description"] + ".", ""]
            for paragraph in as_lines(entry.get("description")):
                lines += [paragraph, ""]
        if own:
            lines += ["## Variables", ""] if name == "main" else ["Besides the variables of the role:", ""]
            lines += [*option_rows(own), ""]
    lines += ["Generated from `meta/argument_specs.yml` by `tests/tools/role_readme.py`.", ""]
    return "\n".join(lines)


def main(arguments: t.Sequence[str] | None = None) -> int:
    """Write or compare the READMEs; the exit status."""
    parser = argparse.ArgumentParser(description="Generate the READMEs of the roles.")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args(arguments).check
    roles = sorted(path.parent.parent for path in ROLES.glob("*/meta/argument_specs.yml"))
    if not roles:
        print(f"no role with argument specifications in {ROLES}", file=sys.stderr)
        return 1
    outdated = 0
    for role in roles:
        readme = role / "README.md"
        wanted = render(role)
        found = readme.read_text(encoding="utf-8") if readme.exists() else ""
        if found == wanted:
            continue
        outdated += 1
        if check:
            sys.stdout.writelines(difflib.unified_diff(found.splitlines(True), wanted.splitlines(True), str(readme), "generated"))
        else:
            readme.write_text(wanted, encoding="utf-8")
            print(f"wrote {readme.relative_to(ROLES.parent)}")
    return 1 if check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
