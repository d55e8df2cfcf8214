# SPDX-License-Identifier: Apache-2.0
"""The face as a mesh: canonical vertices and triangles, and the landmark groups by name."""
