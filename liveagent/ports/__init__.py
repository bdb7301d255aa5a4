"""Devices, files and networks: root + one device, network or library package per file; never torch."""
