# SPDX-License-Identifier: Apache-2.0
"""Networks that know a person when they see one, for whoever has their files; masks do without them.

Each part is called with its file and gives a function from a picture [H,W,3] uint8 to the chance [h,w] 0..1 that each
place shows the person; it is closed when all frames are through. That is one more piece of evidence: steadiness in time
and soft edges stay ours.
"""
