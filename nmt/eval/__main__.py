"""python -m nmt.eval run=DIR: score a run on test sets, or compare several."""

from nmt.eval.run import main

if __name__ == "__main__":
    main()
