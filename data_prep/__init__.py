# SPDX-License-Identifier: Apache-2.0
"""Video to Capture to Track: decoding, landmarks, the tracker, masks, the report, and the made-up talker."""
