# SPDX-License-Identifier: Apache-2.0
"""avatar3d: from a few minutes of video of one person to a 3D head that talks."""

__version__ = "0.1.0"
