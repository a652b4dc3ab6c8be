"""The check of a student's code in a process of its own, with a limit of time and memory."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout, suppress
from pathlib import Path

from helpers.errors import BadInput

SECONDS, GIGABYTES = 180, 8  # a check takes seconds, and a gigabyte at most


def check(**options: object) -> int:
    """Print how a network stands to the challenge; return 1 when a constraint is not met.

    What the code prints goes to standard error. Raises BadInput when its process ends without a table, for whatever
    reason: a table is the only success.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer, network = Path(folder, "answer.json"), options["network"]
        command = [sys.executable, "-P", "-m", "helpers.workbook.guarded", str(answer), json.dumps(options)]
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=2, start_new_session=True, env=os.environ | {"PYTHONPATH": path}
        )
        try:
            status = child.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise BadInput(f"{network} gives no table within {SECONDS} seconds: look for an endless loop.") from None
        finally:
            _end(child)
        if not answer.is_file():
            how = f"status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
            raise BadInput(f"{network} ends its process ({how}) before there is a table; leave out what exits.")
        told = json.loads(answer.read_text("utf-8"))
    if "refused" in told:
        raise BadInput(told["refused"])
    print(told["table"])
    return told["status"]


def _end(child: subprocess.Popen) -> None:
    """End the process and all that it has started."""
    with suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL) if hasattr(os, "killpg") else child.kill()
    child.wait()


def _limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):  # Windows has none, macOS heeds none
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (GIGABYTES * 2**30,) * 2)


def main(answer: str, options: str) -> None:
    """Write the table, or why there is none, into the file `answer`, and end without the code's last words."""
    from helpers.workbook import students

    _limit_memory()
    options = json.loads(options)
    try:
        with redirect_stdout(sys.stderr):
            table = students.judge(**options)
        told = {"table": students.format_table(table), "status": 0 if table.passed.all() else 1}
    except BadInput as refusal:
        told = {"refused": str(refusal)}
    except BaseException as error:  # a student's code may raise anything
        told = {"refused": f"{options['network']} stops with {students.describe(error)}; there is no table."}
    partial = Path(f"{answer}.partial")
    partial.write_text(json.dumps(told), "utf-8")
    partial.replace(answer)
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
