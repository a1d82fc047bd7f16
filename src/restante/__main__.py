"""`python -m restante`: the command `restante`."""

import sys

from restante.app.entry import main

if __name__ == "__main__":
    sys.exit(main())
