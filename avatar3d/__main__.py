# SPDX-License-Identifier: Apache-2.0
"""`python -m avatar3d` is the command `avatar3d`."""

import sys

from avatar3d.cli import main

sys.exit(main())
