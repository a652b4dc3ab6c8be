"""Solutions of notebook 07, a cell each: `workbook edition teacher` puts them below the cells they solve."""

from torch import nn

# %% 07.1
classifier_parameters = 32 * 32 * 32 * 10 + 10


# %% 07.2
def conv_parameters(channels_in, channels, kernel, groups):
    return channels * (channels_in // groups * kernel**2 + 1)


# %% 07.3
strided_field = 9  # 3, then 2 steps of 1 pixel, then 2 steps of 2


# %% 07.4
def wider():
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=2, dilation=2), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=2, dilation=2), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=3, dilation=3), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(32 * 8 * 8, 10),
    )


# %% 07.5
def my_separable(channels_in, channels):
    depthwise = nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in)
    return nn.Sequential(depthwise, nn.Conv2d(channels_in, channels, 1))


# %% 07.6
def tiny():
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 32, 1), nn.ReLU()),
        *(nn.Conv2d(32, 16, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=2, dilation=2), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=2, dilation=2), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )
