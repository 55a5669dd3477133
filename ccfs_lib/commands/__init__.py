"""The commands of `ccfs`, behind `ccfs_lib.cli`.

options (what to run), run and match (what trains for long), forecast, ship.
"""
