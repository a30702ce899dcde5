"""Which processor this is: on an Intel one with AVX-512, MKL adds in the order that PyTorch's recorded answers have; on others in orders of their own."""

import pathlib


def usual() -> bool:
    """Whether real PyTorch's last places here are those of the recorded answers."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "GenuineIntel" in text and "avx512f" in text
