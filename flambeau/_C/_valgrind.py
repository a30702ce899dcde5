"""Requests to Valgrind: start and stop counting instructions, write down the counts. Machine code of Valgrind's own protocol.

A request is a sequence of rotations that changes nothing on a real processor (valgrind.h, "client request"); Valgrind looks for it.
It is written into a page of executable memory as a C function of one argument.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import platform
import sys

_BASE = ord("C") << 24 | ord("T") << 16  # Callgrind's own requests
_DUMP_STATS, _TOGGLE_COLLECT, _START_INSTRUMENTATION = _BASE, _BASE + 2, _BASE + 4
_CODE = bytes.fromhex(
    "4889f8"  # mov rax, rdi        the request
    "31d2"  # xor edx, edx          the answer, where nobody listens
    "48c1c703 48c1c70d 48c1c73d 48c1c733"  # rol rdi, 3, 13, 61, 51: as it was
    "4887db"  # xchg rbx, rbx
    "4889d0 c3"  # mov rax, rdx; ret
)


def _valgrind_supported_platform() -> bool:
    """Whether requests can be made here: on Linux, on x86-64."""
    return sys.platform == "linux" and platform.machine() == "x86_64"


@functools.cache
def _function() -> tuple[mmap.mmap, ctypes._CFuncPtr]:
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_CODE)
    at = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return page, ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.POINTER(ctypes.c_ulong))(at)


def _request(number: int) -> int:
    if not _valgrind_supported_platform():
        raise OSError("Valgrind is not supported on this platform.")
    return _function()[1]((ctypes.c_ulong * 6)(number))


def _valgrind_start() -> None:
    """From here on counting is possible; before, programs run faster."""
    _request(_START_INSTRUMENTATION)


def _valgrind_toggle() -> None:
    """Start counting, or stop."""
    _request(_TOGGLE_COLLECT)


def _valgrind_toggle_and_dump_stats() -> None:
    """Stop counting and write the counts to a file."""
    _request(_TOGGLE_COLLECT)
    _request(_DUMP_STATS)
