# SPDX-License-Identifier: Apache-2.0
"""Native operations: each a public op, a plain-torch reference, and autograd; `_native` loads the kernels."""
