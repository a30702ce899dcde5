"""The size of blocks for modules that are converted, which the flow has no other way to tell."""

import threading

__all__ = ["LinearBlockSparsePattern"]


class LinearBlockSparsePattern:
    """While entered, linear layers are converted with blocks of this size: (1, 4) or (8, 1)."""

    rlock = threading.RLock()
    row_block_size = 1
    col_block_size = 4
    prev_row_block_size = 1
    prev_col_block_size = 4

    def __init__(self, row_block_size=1, col_block_size=4):
        if (row_block_size, col_block_size) not in ((1, 4), (8, 1)):
            raise AssertionError(
                f"Invalid linear block sparse pattern: row_block_size={row_block_size}, col_block_size={col_block_size}"
            )
        cls = LinearBlockSparsePattern
        cls.rlock.acquire()
        cls.prev_row_block_size, cls.prev_col_block_size = cls.row_block_size, cls.col_block_size
        cls.row_block_size, cls.col_block_size = row_block_size, col_block_size

    def __enter__(self):
        pass

    def __exit__(self, exc_type, exc_value, backtrace):
        cls = LinearBlockSparsePattern
        cls.row_block_size, cls.col_block_size = cls.prev_row_block_size, cls.prev_col_block_size
        cls.rlock.release()

    @staticmethod
    def block_size():
        """The size that holds now."""
        return LinearBlockSparsePattern.row_block_size, LinearBlockSparsePattern.col_block_size
