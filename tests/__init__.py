"""flambeau's tests; a package, so that tests may share `tests.agree`."""
