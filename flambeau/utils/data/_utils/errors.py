"""`ExceptionWrapper`: an exception on its way to another process or thread, with its traceback as text."""

import sys
import traceback


class KeyErrorMessage(str):
    """A message that KeyError prints as it is, not as a quoted string."""

    def __repr__(self):
        return str(self)


class ExceptionWrapper:
    """Holds the exception being handled; `reraise` raises one of its type whose message has the first traceback."""

    def __init__(self, exc_info=None, where="in background"):
        exc_info = sys.exc_info() if exc_info is None else exc_info
        self.exc_type = exc_info[0]
        self.exc_msg = "".join(traceback.format_exception(*exc_info))
        self.where = where

    def reraise(self):
        """Raises the exception here."""
        message = f"Caught {self.exc_type.__name__} {self.where}.\nOriginal {self.exc_msg}"
        if self.exc_type is KeyError:
            message = KeyErrorMessage(message)
        elif getattr(self.exc_type, "message", None):
            raise self.exc_type(message=message)
        try:
            exception = self.exc_type(message)
        except Exception:  # a constructor that wants more than a message
            raise RuntimeError(message) from None
        raise exception
