"""Switches of `flambeau.compile`: which programs are kept, and which sizes are taken to change from the first call on."""

from __future__ import annotations

import sys

from flambeau._capture import settings
from flambeau._dynamo.config import patched

job_id: str | None = None  # for whoever tells jobs apart; nothing here does
cache_key_tag = ""  # programs kept under one tag are not found under another
force_disable_caches = False  # programs are made anew, and not kept
dynamic_sources = ""  # inputs all of whose sizes change, as they are spoken of: "L['x'],L['mask']", "x", "batch_.*"

patch = patched(globals())
settings.register(sys.modules[__name__])
