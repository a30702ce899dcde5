"""The parts of `DataLoader`: fetching, collating, worker processes and their channels."""

MP_STATUS_CHECK_INTERVAL = 5.0  # seconds after which a waiting worker looks whether its parent still lives
