import torch

from ccfs_lib.data import from_arrays, load
from ccfs_lib.data.exchange import write_folder
from ccfs_lib.experiment import preset
from ccfs_lib.pipeline import Pipeline

train, labels = load("digits"), torch.arange(10).repeat(2)  # two images of each class
members = [train.images[train.labels == c].float() for c in range(10)]
means = [m[half::2].mean(0).byte() for half in (0, 1) for m in members]
made = from_arrays(torch.stack(means), labels)
folder = write_folder(made, "class-means", replace=True)  # also of an earlier run
quick = {"ipc": 10, "epochs": 10, "teacher_epochs": 10}
run = Pipeline(preset(distilled_from=str(folder), alpha=0.2, **quick))
print(f"CCFS: {run.evaluate('simple-misclassified', seed=0)['last']:.1f} %")
