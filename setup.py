"""What pyproject.toml cannot say: the wheel carries the paper's numbers.

They lie in data/paper, once, and are installed beside the modules as
ccfs_lib/paper_data (`ccfs_lib.runtime.paths.paper` reads either).
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["ccfs_lib*"]), "ccfs_lib.paper_data"],
    package_dir={"ccfs_lib.paper_data": "data/paper"},
    package_data={
        "ccfs_lib.paper_data": ["*.csv", "README.md"],
        "ccfs_lib.data": ["*.json"],  # here, since pyproject's would replace this
    },
)
