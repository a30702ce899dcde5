"""Compares two results of harness.py, with PyTorch's tolerances for other machines: 1e-4 relative, 1e-5 absolute."""

import json
import math
import sys


def differences(expected, got, path="", relative=1e-4, absolute=1e-5):
    """Lines that say where two plain results differ; empty where they agree."""
    if isinstance(expected, dict) and isinstance(got, dict):
        if expected.keys() != got.keys():
            return [f"{path}: {sorted(expected)} != {sorted(got)}"]
        if "magnitude" in expected:  # of a large tensor: its sums are as exact as its elements are large
            count = math.prod(expected["shape"])
            scale = max(abs(expected["magnitude"]) / count, 1e-3)
            if expected["shape"] != got["shape"]:
                return [f"{path}: shape {expected['shape']} != {got['shape']}"]
            found = differences(expected["first"], got["first"], path, relative, absolute * max(1, scale))
            for field in ("sum", "magnitude"):
                if not abs(expected[field] - got[field]) <= relative * expected["magnitude"] + absolute:
                    found.append(f"{path}.{field}: {expected[field]} != {got[field]}")
            return found
        return [d for k in expected for d in differences(expected[k], got[k], f"{path}.{k}", relative, absolute)]
    if isinstance(expected, list) and isinstance(got, list):
        if len(expected) != len(got):
            return [f"{path}: length {len(expected)} != {len(got)}"]
        return [
            d
            for i, (a, b) in enumerate(zip(expected, got))
            for d in differences(a, b, f"{path}[{i}]", relative, absolute)
        ]
    if isinstance(expected, float) and isinstance(got, float):
        if expected == got or (math.isnan(expected) and math.isnan(got)):
            return []
        if abs(expected - got) <= absolute + relative * abs(expected):
            return []
        return [f"{path}: {expected} != {got}"]
    return [] if expected == got else [f"{path}: {expected!r} != {got!r}"]


if __name__ == "__main__":
    expected, got = (json.load(open(path)) for path in sys.argv[1:3])
    for case, want in expected.items():
        have = got.get(case, {})
        if case == "(import)":
            print(f"  import: {want['seconds']} s, here {have.get('seconds')} s")
            continue
        found = (
            []
            if "error" in have and "error" in want
            else [have["error"]]
            if "error" in have
            else differences(want.get("result"), have.get("result"))
        )
        print(
            f"  {'ok  ' if not found else 'FAIL'} {case} ({want['seconds']} s, here {have.get('seconds')} s)",
            *([want["error"]] if "error" in want else []),
        )
        for line in found[:4]:
            print("      ", line[:300])
