"""Make .venv, or leave it alone when nothing changed: the one file that runs before anything is installed.

Standard library and the syntax of Python 3.6 only, so that an old Python gives a sentence, not a SyntaxError.
"""

import hashlib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INPUTS = ("pyproject.toml", "constraints.txt")


def main():
    """Install the workbook into .venv; sys.exit with one sentence when that cannot be."""
    check_python(sys.version_info)
    venv = os.path.join(ROOT, ".venv")
    stamp = os.path.join(venv, "workbook.stamp")
    wanted = fingerprint(ROOT)
    if is_current(venv, stamp, wanted):
        return
    check_venv()
    try:
        make_venv(venv)
    except subprocess.CalledProcessError as error:
        command = " ".join(os.path.basename(word) for word in error.cmd)
        sys.exit(f"Installing failed at `{command}`: check the internet connection, then run it again.")
    except OSError as error:
        sys.exit(f"Installing failed ({error}): make sure that {ROOT} can be written to, and run it again.")
    except KeyboardInterrupt:
        print("\nInstalling was interrupted: run it again to start afresh.", file=sys.stderr)
        sys.exit(130)
    with open(stamp, "w") as file:  # last, so that a half-made .venv has none
        file.write(wanted)


def check_python(version):
    """Refuse a Python that is too old."""
    if tuple(version[:2]) < (3, 11):
        sys.exit(
            f"Python {version[0]}.{version[1]} was found at {sys.executable}; "
            "the workbook needs 3.11 or newer: run `make run PYTHON=python3.12`, with a newer one's name."
        )


def check_venv():
    """Refuse a Python without the modules that make virtual environments, as Debian's is at first."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        name = "python{}.{}-venv".format(*sys.version_info)
        sys.exit(
            f"The Python at {sys.executable} has no venv and ensurepip: install them "
            f"(Debian and Ubuntu: `sudo apt install {name}`), or run `make run PYTHON=…` with another Python."
        )


def fingerprint(root):
    """Return a hash of what .venv depends on: two files, the Python, the place, which scripts name."""
    digest = hashlib.sha256("\n".join((sys.version, sys.base_prefix, root)).encode())
    for name in INPUTS:
        with open(os.path.join(root, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def is_current(venv, stamp, wanted):
    """Return whether .venv was finished from the same inputs and its Python is still there."""
    if not os.access(os.path.join(venv, "bin", "python"), os.X_OK) or not os.path.exists(stamp):
        return False
    with open(stamp) as file:
        return file.read() == wanted


def make_venv(venv):
    """Make .venv anew, with the exact versions of constraints.txt; uv installs in seconds, pip in minutes."""
    print("Installing into .venv; this takes from half a minute to a few, once.", flush=True)
    base = getattr(sys, "_base_executable", sys.executable)  # an active .venv's own Python is about to go
    python = os.path.join(venv, "bin", "python")
    exact = ["--constraint", "constraints.txt"]
    run(base, "-m", "venv", "--clear", venv)
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", *exact, "uv")
    run(python, "-m", "uv", "pip", "install", "--python", python, *exact, "--editable", ".[test]")


def run(*command):
    """Run a command at the repository's root; its own messages go to the terminal."""
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
