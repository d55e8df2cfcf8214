# SPDX-License-Identifier: Apache-2.0
"""What people look at: `page` writes one HTML file in which an avatar talks, in 3D, without a server."""
