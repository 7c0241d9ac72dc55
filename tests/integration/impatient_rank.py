"""Run by mpiexec: a rank of pre-training as it is, but that waits for the others for seconds."""

from __future__ import annotations

import sys
from datetime import timedelta

from apps.training import distributed
from apps.training.rank import give_up, main

distributed._SUM_TIMEOUT = timedelta(seconds=4)

if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Exception as error:
        give_up(sys.argv[1], error)
