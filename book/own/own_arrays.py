from sklearn.datasets import load_digits

from ccfs_lib.experiment import preset
from ccfs_lib.pipeline import Pipeline


def images(split):
    digits, part = load_digits(), slice(900) if split == "train" else slice(900, None)
    return digits.images[part] / 16, digits.target[part], list("0123456789")


if __name__ == "__main__":
    quick = {"scale": "digits", "ipc": 10, "epochs": 10, "teacher_epochs": 10}
    run = Pipeline(preset("own_arrays:images", iterations=50, **quick))
    print(f"CCFS: {run.evaluate('simple-misclassified', seed=0)['last']:.1f} %")
