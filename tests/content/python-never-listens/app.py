import time

import shiny  # noqa: F401

print("thinking before I listen")
while True:
    time.sleep(60)
