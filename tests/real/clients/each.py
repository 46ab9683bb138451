import json
import sys


def each(read):
    """Reads each URL of the command line, and prints what was read as JSON lines: [URL, what]."""
    for url in sys.argv[1:]:

        def tell(what):
            print(json.dumps([url, what]), flush=True)

        try:
            read(url, tell)
        except Exception as error:
            tell({"error": type(error).__name__})
