"""The machine: device, engines, halves, queue, portable, memory, workers, checkpoint.

And progress, plugins, paths.
Nothing of the paper is here; weights are read and written here. Nothing is imported
here either: a notebook sets its environment before torch comes.
"""
