"""The commands of `ccfs`, behind `ccfs_lib.cli`.

options (what to run), run (sweep, match, squeeze), forecast, files (select, export,
ship) and ship, table1 and table1_price (its price), results (results, doctor).
"""
