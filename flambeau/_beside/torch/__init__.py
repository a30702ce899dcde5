"""What `import torch` finds where flambeau stands in for PyTorch: this file gives way to flambeau."""

import sys
from pathlib import Path

try:
    import flambeau._alias
except ModuleNotFoundError:  # a child process of a program that runs flambeau from a source folder
    sys.path.append(str(Path(__file__).parents[3]))
    import flambeau._alias

del sys.modules["torch"]
flambeau._alias.install()
