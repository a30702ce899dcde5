"""What other loaders take from the inside of `torch.utils.data` (torchdata)."""

import os
import subprocess
import sys

from flambeau.utils.data import _utils
from flambeau.utils.data._utils.worker import ManagerWatchdog


def test_watchdog():
    """A child sees that its parent has ended."""
    assert ManagerWatchdog().is_alive()
    here, there = os.pipe()
    middle = os.fork()
    if not middle:  # starts a child and ends
        parent = os.getpid()
        if not os.fork():
            dog = ManagerWatchdog()
            dog.manager_pid = parent  # however quickly it ended
            while dog.is_alive():
                pass
            os.write(there, b"x" if not dog.is_alive() else b"y")
        os._exit(0)
    os.waitpid(middle, 0)
    assert os.read(here, 1) == b"x"
    os.close(here), os.close(there)


def test_the_end_of_the_interpreter_is_told():
    assert _utils.HAS_NUMPY and not _utils.python_exit_status
    # what was registered first is called last
    program = "import atexit, flambeau\natexit.register(lambda: print(u.python_exit_status))\nfrom flambeau.utils.data import _utils as u"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "True", done
