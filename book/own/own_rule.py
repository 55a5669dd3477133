import numpy as np

from ccfs_lib.experiment import preset
from ccfs_lib.pipeline import Pipeline


def first_wrong(labels, predictions, scores, quota, excluded):
    wrong = np.setdiff1d(np.flatnonzero(predictions != labels), excluded)
    return np.concatenate([wrong[labels[wrong] == c][:quota] for c in range(10)])


if __name__ == "__main__":
    run = Pipeline(preset(ipc=10, epochs=10, teacher_epochs=10, iterations=50))
    print(f"{run.evaluate('own_rule:first_wrong', seed=0)['last']:.1f} %")
