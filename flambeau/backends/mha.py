"""Whether attention and transformer layers may take a quicker path in evaluation."""

_is_fastpath_enabled = True


def get_fastpath_enabled():
    """Whether the quicker path may be taken."""
    return _is_fastpath_enabled


def set_fastpath_enabled(value):
    """Allows or forbids the quicker path."""
    global _is_fastpath_enabled
    _is_fastpath_enabled = value
