"""The weights of `lite` and their manifest: `adapter.safetensors`, `texts.safetensors`, `picture_network.onnx`.

Made by `benchmarks/train_lite`, never by hand. `manifest.py` reads `manifest.json`, which holds their checksums.
May import `models.encoders.base` and `streams`.
"""
