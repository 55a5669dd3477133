"""The commands of `ccfs`, behind `ccfs_lib.cli`.

options (what to run), run (sweep, match, squeeze), forecast, files (select, export,
ship) and ship, results (results, doctor).
"""
