"""The native frames of the calling thread, where the C library can tell them."""

import ctypes
import re

__all__ = ["get_cpp_backtrace"]


def get_cpp_backtrace(frames_to_skip=0, maximum_number_of_frames=64) -> str:
    """A line per native frame, innermost first: its function if it is known, its address, its library."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "backtrace"):  # not every C library has it
        return ""
    library.backtrace_symbols.restype = ctypes.POINTER(ctypes.c_char_p)
    size = frames_to_skip + maximum_number_of_frames
    addresses = (ctypes.c_void_p * size)()
    found = library.backtrace(addresses, size)
    symbols = library.backtrace_symbols(addresses, found)
    lines = []
    for i in range(frames_to_skip, found):
        text = symbols[i].decode(errors="replace")
        parts = re.fullmatch(r"(.*)\((.*?)(\+0x[0-9a-f]+)?\) \[(.*)\]", text)
        path, name, offset, address = parts.groups() if parts else ("?", "", "", hex(addresses[i] or 0))
        offset = f" + {offset[1:]}" if offset else ""
        lines.append(f"frame #{i - frames_to_skip}: {name or '<unknown function>'}{offset} ({address} in {path})\n")
    library.free(symbols)
    return "".join(lines)
