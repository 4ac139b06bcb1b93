"""Makes the weights of the `lite` encoder: `python -m benchmarks.train_lite --help`.

Pictures and names come from packages (npm, Debian, PyPI), the seed is fixed, every step may be stopped and goes on
where it was. Needs the extras `train` and `demo`, and `npm` and `apt-get`. Read `sources.py` first: what is trained
on, and why it may.
"""
