"""It takes memory until there is none."""

taken = []
while True:
    taken.append(bytearray(2**33))
