"""Families of open checkpoints: each is one file that says how a folder of weights becomes our networks.

A family maps names and options and builds; the networks are those of `nn`, which know no family.
"""
