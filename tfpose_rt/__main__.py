"""`python -m tfpose_rt` is `tfpose-rt`."""

from tfpose_rt.cli import main

if __name__ == "__main__":
    main()
