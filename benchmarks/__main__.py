"""Run the benchmarks: `python -m benchmarks [--short] [NAME ...]`. Each prints a table of figures and ratios."""

import argparse
import importlib
import logging
import platform
import time

import structlog

NAMES = ("lookup", "api", "answer", "detection", "sampling", "cascade")


def main() -> None:
    """Run the benchmarks that are named, all of them where none is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--short", action="store_true", help="a quick look that they work; the figures mean little")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark is named {', '.join(sorted(unknown))}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(f"{platform.machine()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d %H:%M')}")
    for name in arguments.names or NAMES:
        print(f"\n== {name}" + (" (short: the figures mean little)" if arguments.short else ""), flush=True)
        importlib.import_module(f"benchmarks.{name}").main(short=arguments.short)


if __name__ == "__main__":
    main()
