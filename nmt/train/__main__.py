"""python -m nmt.train [GROUP=CHOICE] [KEY=VALUE] ...: train one model, or several with -m."""

from nmt.train.run import main

if __name__ == "__main__":
    main()
