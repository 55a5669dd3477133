from torch import nn

from ccfs_lib.experiment import preset
from ccfs_lib.pipeline import Pipeline


def plain(num_classes, image_size):
    block = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()
    head = nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, num_classes)
    return nn.Sequential(*block, *head)


if __name__ == "__main__":
    quick = {"ipc": 10, "epochs": 10, "teacher_epochs": 10, "iterations": 50}
    run = Pipeline(preset(network="own_network:plain", **quick))
    print(f"CCFS: {run.evaluate('simple-misclassified', seed=0)['last']:.1f} %")
