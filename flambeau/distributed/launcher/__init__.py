"""Launching workers from a program: `LaunchConfig`, `elastic_launch`."""

from .api import LaunchConfig, elastic_launch, launch_agent

__all__ = ["LaunchConfig", "elastic_launch", "launch_agent"]
