"""A data set in, batches out: augmentation, targets, padding and the order of the samples.

Two settings of libraries must be made before they are used: albumentations asks a server for its newest
version at import unless told not to, and OpenCV starts threads of its own in every loading process.
"""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import cv2

cv2.setNumThreads(0)
