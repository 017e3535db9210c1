"""A short-lived process that compares two notebooks with nbdime: two notebooks in on stdin, the difference on stdout.

A process of its own because nbdime compares texts character by character, in time that may grow with the cube of what
a tenant printed: here it can be ended, and the service's own threads go on. Run as a script (``difference.cells``), so
it imports nothing of this package. The input is ``[notebook, notebook]``, the output nbdime's list of operations.
"""

import json
import resource
import sys

MEMORY_BYTES = 2 << 30
CPU_SECONDS = 20


def main() -> None:
    """Compare."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # jsonschema, which nothing here calls, takes most of a second to make a grammar of it; it does without.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # what the import system means by "there is none"
    import nbdime  # type: ignore[import-untyped]  # noqa: PLC0415  # it ships no types; after the line above
    import nbformat  # noqa: PLC0415  # the same

    one, other = map(nbformat.from_dict, json.load(sys.stdin))
    json.dump(nbdime.diff_notebooks(one, other), sys.stdout)


if __name__ == "__main__":
    main()
