"""What packages are made of, and why."""

from flambeau.package.analyze.find_first_use_of_broken_modules import find_first_use_of_broken_modules
from flambeau.package.analyze.trace_dependencies import trace_dependencies
