"""What holds a process that runs anyone's code back, as far as the system allows: a fence, not a prison."""

import ctypes
import os
import sys
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

APART = 0x10000000 | 0x00020000 | 0x40000000 | 0x20000000 | 0x08000000  # users, mounts, network, processes, memory
PRIVATE, BIND, READ_ONLY, RECURSIVE, MOUNT_SETATTR = 0x44000, 0x1000, 1, 0x8000, 442
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {f"os.{what}" for what in ("remove", "rename", "mkdir", "rmdir", "link", "symlink", "truncate", "chmod")}
STARTS = {"os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "subprocess.Popen"}
CONNECTS = {"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"}


def start(process: BaseProcess, **environment: str) -> None:
    """Start a process that knows this workbook, and imports nothing from the folder it is called in."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    with patch.dict(os.environ, PYTHONPATH=path, PYTHONSAFEPATH="1", **environment):
        process.start()


def limit(seconds: float, gigabytes: float) -> None:
    """Limit this process's memory, its files to 100 MB each, and the time that it computes to the minute after."""
    with suppress(ImportError):  # Windows has none, macOS heeds no limit of memory
        import resource

        for name, most in {"DATA": gigabytes * 2**30, "FSIZE": 100 * 10**6, "CORE": 0, "CPU": seconds + 60}.items():
            with suppress(ValueError, OSError):
                resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (int(most),) * 2)


def watch(folder: str, secret: str, told: list[str]) -> None:
    """Refuse this process to write outside the folder, read below a `secret` one, connect, start processes; tell it."""

    def hook(event: str, arguments: tuple) -> None:
        if found := _forbidden(event, arguments, os.path.realpath(folder), secret):
            told.append(found)
            raise PermissionError(f"it {found}")

    sys.addaudithook(hook)


def _forbidden(event: str, arguments: tuple, folder: str, secret: str) -> str:
    """Return what an event of Python's does that is refused, in words, or ""."""
    if event in STARTS or event in CONNECTS:
        return "starts a process" if event in STARTS else "opens a connection"
    if (event != "open" and event not in CHANGES) or not isinstance(arguments[0], (str, bytes, os.PathLike)):
        return ""
    path = os.path.realpath(os.fsdecode(arguments[0]))
    if secret in Path(path).parts:
        return f"reads what lies in {secret}"
    inside = path == folder or path.startswith((folder + os.sep, "/dev/"))
    changes = event in CHANGES or arguments[2] & WRITES
    return f"writes to {path}, outside its folder" if changes and not inside else ""


def enclose(folder: str, hidden: list[str]) -> list[str]:
    """Go on in a process without a network, which sees the folders `hidden` empty and can write to `folder` only.

    What it has started ends with it. Returns what the system does not grant; only Linux grants any.
    """
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    user, group = (os.getuid(), os.getgid()) if libc else (0, 0)
    identity = {"setgroups": "deny", "uid_map": f"{user} {user} 1", "gid_map": f"{group} {group} 1"}
    if libc is None or libc.unshare(APART):
        return ["writes outside the folder", "the data set's files", "connections", "processes that are left behind"]
    for name, text in identity.items():
        Path("/proc/self", name).write_text(text)
    if child := os.fork():  # the first process of a world of its own: when it ends, the system ends the others
        status = os.waitpid(child, 0)[1]  # and this one ends as it did
        os.kill(os.getpid(), status & 127) if status & 127 else os._exit(status >> 8)
    libc.prctl(1, 9)  # end with the parent
    path, attributes = os.fsencode(folder), ctypes.c_uint64 * 4
    refused = (
        libc.mount(None, b"/", None, PRIVATE, None)
        or libc.mount(path, path, None, BIND, None)
        or libc.syscall(MOUNT_SETATTR, -100, b"/", RECURSIVE, attributes(READ_ONLY), 32)
        or libc.syscall(MOUNT_SETATTR, -100, path, 0, attributes(0, READ_ONLY), 32)
        or any([libc.mount(b"none", os.fsencode(place), b"tmpfs", READ_ONLY, None) for place in hidden])
    )
    return ["writes outside the folder", "the data set's files"] if refused else []
