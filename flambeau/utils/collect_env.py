"""What a bug report needs to know about this environment: `python -m flambeau.utils.collect_env`, `flambeau env`."""

import importlib.metadata
import os
import platform
import sys

PACKAGES = ("flambeau", "numpy", "scipy", "ml_dtypes", "llvmlite", "cupy", "torch")


def get_env_info() -> dict[str, str]:
    """Name and value of each fact, in the order in which they are printed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {
        "Python": f"{platform.python_version()} ({platform.python_implementation()}, {sys.executable})",
        "System": f"{platform.platform()}",
        "Processor": f"{processor()}, {cores} cores",
    }
    for name in PACKAGES:
        facts[name] = version(name)
    from flambeau._ground import flags

    set_flags = [f"{flag.variable}={flag.value}" for flag in flags.TABLE.values() if flag.value != flag.default]
    facts["Switches"] = ", ".join(set_flags) or "all at their defaults"
    return facts


def get_pretty_env_info() -> str:
    """The facts as lines of text."""
    facts = get_env_info()
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def version(name: str) -> str:
    """The version of an installed distribution."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed (running from its source folder)" if name == "flambeau" else "not installed"
    ours = "flambeau" in (found.metadata["Summary"] or "") and name == "torch"
    return f"{found.version} (flambeau under PyTorch's name)" if ours else found.version


def processor() -> str:
    """The processor's name, and the instruction sets that native kernels may use."""
    try:
        import llvmlite.binding as llvm
    except ImportError:
        return platform.processor() or platform.machine()
    features = llvm.get_host_cpu_features()
    wide = [name for name in ("avx2", "avx512f", "neon", "sve") if features.get(name)]
    return " ".join([llvm.get_host_cpu_name(), *wide])


def main() -> None:
    """Print the facts."""
    print(get_pretty_env_info())


if __name__ == "__main__":
    main()
