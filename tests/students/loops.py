"""It never comes to an end."""

while True:
    pass
