from ccfs_lib.experiment import preset
from ccfs_lib.pipeline import Pipeline


def ink(train):
    return train.images.float().mean((1, 2, 3))  # one number an image, higher = harder


if __name__ == "__main__":
    quick = {"ipc": 10, "epochs": 10, "teacher_epochs": 10, "iterations": 50}
    run = Pipeline(preset(score="own_difficulty:ink", **quick))
    print(f"CCFS: {run.evaluate('simple-misclassified', seed=0)['last']:.1f} %")
