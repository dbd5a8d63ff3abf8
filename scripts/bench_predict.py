"""Time `hamjax predict` beside `hamjax evaluate --images` on the same files; see scripts/bench/predict.py."""

from bench.predict import main

if __name__ == "__main__":
    main()
