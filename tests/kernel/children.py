"""Child processes: such that lack something, a privilege or a kernel's AF_KEY, and such that work beside a test."""

import ctypes
import errno
import multiprocessing
import platform
import socket
import struct
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized

#: What is done in rounds, and yields after each.
Work = Callable[[], Generator[None, None, None]]

_PATIENCE_S = 300
_fork = multiprocessing.get_context("fork")
_libc = ctypes.CDLL(None, use_errno=True)

_CAPABILITY_VERSION_3 = 0x20080522  # <linux/capability.h>
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38  # <linux/prctl.h>
_SECCOMP_MODE_FILTER = 2  # <linux/seccomp.h>
_SECCOMP_RET_ERRNO, _SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # <linux/bpf_common.h>
_SOCKET_CALL = 41 if platform.machine() == "x86_64" else 198  # <asm/unistd.h>, <asm-generic/unistd.h>


def in_child(prepare: Callable[[], None], function: Callable[[], str]) -> str:
    """Return what `function` returns in a forked child, after `prepare` there; its traceback, if it fails."""
    ours, theirs = _fork.Pipe(duplex=False)

    def run(answer: Connection) -> None:
        try:
            prepare()
            answer.send(function())
        except BaseException:
            answer.send(traceback.format_exc())

    child = _fork.Process(target=run, args=(theirs,))
    child.start()
    theirs.close()
    with ours:
        result = str(ours.recv())
    child.join()
    return result


@contextmanager
def working(*works: Work) -> Iterator[Callable[[], list[int]]]:
    """Let processes work, each to the end of its round; yield what says how many rounds they have done.

    It is entered before an engine is opened, so that no two processes share a socket.
    """
    stop, failures = _fork.Event(), _fork.SimpleQueue()
    done = [_fork.Value("L", 0) for _ in works]

    def run_rounds(work: Work, rounds: "Synchronized[int]") -> None:
        try:
            with closing(work()) as turns:
                while not stop.is_set():
                    next(turns)
                    rounds.value += 1
        except BaseException:
            failures.put(traceback.format_exc())

    def rounds() -> list[int]:
        assert failures.empty(), failures.get()
        return [value.value for value in done]

    processes = [_fork.Process(target=run_rounds, args=pair) for pair in zip(works, done, strict=True)]
    for process in processes:
        process.start()
    try:
        while not all(rounds()):
            time.sleep(0.05)
        yield rounds
    finally:
        stop.set()
        for process in processes:
            process.join(_PATIENCE_S)
    assert failures.empty(), failures.get()
    assert [process.exitcode for process in processes] == [0] * len(works)


def drop_capabilities() -> None:
    """Give up every privilege of this process (capset(2)), and stay who one is."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    if _libc.capset(header, bytes(24)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def lose_af_key() -> None:
    """Let this process see a kernel that has no AF_KEY: socket(2) says for it what such a kernel says."""
    _refuse_sockets(errno.EAFNOSUPPORT, socket.AF_KEY, 2)  # PF_KEY_V2


def lose_xfrm() -> None:
    """Let this process see a kernel that has no NETLINK_XFRM, as `lose_af_key` does with AF_KEY."""
    _refuse_sockets(errno.EPROTONOSUPPORT, socket.AF_NETLINK, 6)  # NETLINK_XFRM


def _refuse_sockets(refusal: int, family: int, protocol: int) -> None:
    """Have a seccomp filter refuse them, since a module cannot be taken from a kernel that others use."""
    code = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (_LOAD, 0, 0, 0),  # the system call's number
            (_JUMP_IF_EQUAL, 0, 5, _SOCKET_CALL),
            (_LOAD, 0, 0, 16),  # its first argument
            (_JUMP_IF_EQUAL, 0, 3, family),
            (_LOAD, 0, 0, 32),  # its third
            (_JUMP_IF_EQUAL, 0, 1, protocol),
            (_RETURN, 0, 0, _SECCOMP_RET_ERRNO | refusal),
            (_RETURN, 0, 0, _SECCOMP_RET_ALLOW),
        )
    )
    memory = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(memory))
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program):
        raise OSError(ctypes.get_errno(), "prctl")
