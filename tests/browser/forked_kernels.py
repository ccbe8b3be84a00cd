"""Kernels that have imported fastai before they begin: each is forked from one process that has done so.

forked_kernels.py SOCKET                   that process; it ends when its standard input does
forked_kernels.py SOCKET -f CONNECTION     what a Jupyter server starts as its kernel: asks for a fork and stands for it
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading


def fork_for_all(address: str) -> None:
    """Forks a kernel for everyone who asks; those who ask before fastai is there wait."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        import fastai.vision.all  # noqa: F401

        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            if sys.stdin in select.select([door, sys.stdin], [], [])[0]:
                return
            guest, _ = door.accept()
            if not os.fork():
                door.close()
                fork_for(guest)
            guest.close()


def fork_for(guest: socket.socket) -> None:
    """Forks once more, for a kernel whose parent tells the guest how it ends, and ends it with the guest."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    asked, files, _, _ = socket.recv_fds(guest, 1 << 20, 3)
    os.setsid()
    kernel = os.fork()
    if not kernel:
        guest.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
        become_kernel(**json.loads(asked))
    for file in files:
        os.close(file)
    guest.sendall(f"{kernel}\n".encode())
    threading.Thread(target=end_with, args=(guest, kernel), daemon=True).start()
    guest.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(kernel, 0)[1])}\n".encode())
    os._exit(0)


def end_with(guest: socket.socket, kernel: int) -> None:
    """Ends a kernel, if it has not ended itself, when nobody stands for it any more."""
    guest.recv(1)
    with contextlib.suppress(ProcessLookupError):
        os.kill(kernel, signal.SIGKILL)


def become_kernel(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Is from here on what `python -m ipykernel_launcher` would be."""
    os.environ.clear()
    os.environ.update(environment, JPY_PARENT_PID=str(os.getppid()))
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv, sys.path[0] = ["ipykernel_launcher", *arguments], ""
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()
    sys.exit(0)


def stand_for_one(address: str, arguments: list[str]) -> int:
    """Asks for a kernel, passes signals on to it, and ends as it does; it ends with whoever started this process."""
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as host:
        host.connect(address)
        asked = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
        socket.send_fds(host, [json.dumps(asked).encode()], [0, 1, 2])
        with host.makefile() as answers:
            kernel = int(answers.readline())
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda number, _: os.kill(kernel, number))
            while not select.select([host], [], [], 1)[0]:
                if os.getppid() != parent:
                    return 1
            return int(answers.readline() or 1)


if __name__ == "__main__":
    if sys.argv[2:]:
        sys.exit(stand_for_one(sys.argv[1], sys.argv[2:]))
    fork_for_all(sys.argv[1])
