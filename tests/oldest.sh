#!/usr/bin/env bash
# The unit tests with the oldest torch and torchvision that pyproject.toml allows.
#
#   tests/oldest.sh [folder for the environment, default _build/oldest] [pytest options]
#
# All other packages are as in the lock; `make test` runs the locked pair. Some 6 GB, as
# PyPI's wheels bring CUDA. To be run, and the floor in pyproject.toml raised or lowered,
# when the library begins to use something new of torch.
set -euo pipefail
cd "$(dirname "$0")/.."
at=${1:-_build/oldest}
shift || true

pair=$(grep -oE '"(torch|torchvision)>=[0-9.]+' pyproject.toml | tr -d '"' | sed 's/>=/==/')
echo "oldest pair:" $pair
[ -x "$at/bin/python" ] || "${PYTHON:-python3}" -m venv "$at"
# torch brings its own CUDA, triton and sympy; a constraint knows no extras or hashes.
grep -E '^[a-z]' requirements.lock | sed -E 's/ *\\$//; s/\[[a-z,-]+\]//' |
  grep -vE '^(torch|torchvision|triton|sympy|nvidia|cuda)' >"$at/constraints.txt"
"$at/bin/pip" install --quiet -c "$at/constraints.txt" $pair ".[book,workflow,test]"
# Left out: keys that hold the fingerprint of images distilled in floating point, which
# another torch rounds otherwise. The installed copy is not what is tested: this folder.
guard=tests/test_guard.py::test_stages_of_section_3_are_found_under_the_keys_they_had
PYTHONPATH=$PWD "$at/bin/python" -m pytest -q --ignore tests/book --deselect "$guard" "$@"
