"""Where other libraries look for the compiler's backends: see `registry`."""
