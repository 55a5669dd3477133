from sklearn.datasets import load_digits
from torch.utils.data import Dataset

from ccfs_lib.data import from_dataset


class Digits(Dataset):
    def __init__(self, split):
        digits, odd = load_digits(), split == "test"
        self.images, self.labels = digits.images[odd::2] / 16, digits.target[odd::2]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.images[i], self.labels[i]  # (image, label), and no augmentation


if __name__ == "__main__":
    print(from_dataset(Digits("train")))
