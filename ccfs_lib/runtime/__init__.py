"""The machine: device, engines, portable, memory, workers, checkpoint, progress, paths.

Nothing of the paper is here; weights are read and written here. Nothing is imported
here either: a notebook sets its environment before torch comes.
"""
