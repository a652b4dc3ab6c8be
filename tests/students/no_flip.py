"""The pipeline never mirrors an image."""

from torch import nn

from helpers.augment import coarse_dropout, pipeline, shift_scale_rotate


def factory():
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=4, dilation=4), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=2, dilation=2), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, 2, 1, groups=8), nn.Conv2d(8, 8, 1), nn.ReLU()),
        nn.Conv2d(8, 8, 5, padding=2),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
    )


def my_augmentation(**normalisation):
    return pipeline(shift_scale_rotate(degrees=10, p=0.2), coarse_dropout(p=0.2), **normalisation)
