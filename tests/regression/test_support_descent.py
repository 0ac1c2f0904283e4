"""numba's disk caches of kernels that call ``support_descent`` are renewed when it changes."""

import hashlib
import re
from pathlib import Path

import pytest

from datamodels.regression import exact_descent, support_descent
from datamodels.regression.engines import row_descent


@pytest.mark.parametrize("caller", [exact_descent, row_descent])
def test_callers_carry_the_digest_of_the_kernels_that_they_call(caller):
    digest = hashlib.sha256(Path(support_descent.__file__).read_bytes()).hexdigest()[:12]
    found = re.findall(r"^# support_descent\.py: (\w+)$", Path(caller.__file__).read_text(), re.M)
    assert found == [digest], (
        f"support_descent.py has changed: write the line '# support_descent.py: {digest}' into "
        f"{caller.__file__}, or numba runs kernels of it that are out of date"
    )
