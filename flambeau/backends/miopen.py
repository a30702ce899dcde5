"""Switches of MIOpen, which is not used."""

immediate = False
