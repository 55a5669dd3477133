"""The environment that portable bits need, to be set before torch is imported.

Vector kernels sum in an order that follows the width of the CPU's registers, and in a
small training the last bits decide ties, which decide what is picked.
"""

import os
import sys

# AVX2 is what all x86-64 machines of today share; MKL's mode of equal sums likewise.
ENVIRONMENT = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE"}


def settle(portable: bool) -> None:
    """Set the environment for a portable experiment, if torch is still to come.

    Later it would have no effect, and `device.unlike_portable` tells artefacts apart.
    """
    if portable and "torch" not in sys.modules:
        os.environ.update(ENVIRONMENT)
