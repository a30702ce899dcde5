"""Packages: objects together with the Python code they need, in one archive that PyTorch reads, and PyTorch's read."""

from flambeau.package.analyze.is_from_package import is_from_package
from flambeau.package.file_structure_representation import Directory
from flambeau.package.glob_group import GlobGroup
from flambeau.package.importer import (
    Importer,
    ObjMismatchError,
    ObjNotFoundError,
    OrderedImporter,
    sys_importer,
)
from flambeau.package.package_exporter import EmptyMatchError, PackageExporter, PackagingError
from flambeau.package.package_importer import PackageImporter
