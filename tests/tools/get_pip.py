"""Stand-in for pip's bootstrap script, from the pip wheel beside it instead of a download.

ansible-test makes an empty venv for each sanity test and asks a fixed web address for this script. Machines that reach only
a package index never get it; the wheel of the very same version comes from that index.
"""

from __future__ import annotations

import os
import sys
from glob import glob

WHEELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "wheels")


def main() -> None:
    """Install the packages named on the command line with the pip that lies in the wheel."""
    sys.path.insert(0, glob(os.path.join(WHEELS, "pip-*.whl"))[0])
    from pip._internal.cli.main import main as pip

    arguments = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
    sys.exit(pip(["install", "--find-links", WHEELS, *arguments]))


if __name__ == "__main__":
    main()
