"""What is planned and measured."""

from __future__ import annotations

from growjax.config import ModelConfig

SHAPES: dict[str, tuple[ModelConfig, int, int]] = {
    "256 wide, 2 layers": (ModelConfig(d_model=256, n_layers=2, n_heads=8, n_kv_heads=4, head_dim=32, d_ff=768,
                                       vocab_size=2048, max_seq_len=64), 4, 64),
    "64 wide, 16 layers": (ModelConfig(n_layers=16, n_heads=2, n_kv_heads=1, head_dim=32), 4, 64),
    "128 wide, 4 layers": (ModelConfig(d_model=128, n_layers=4, n_heads=4, n_kv_heads=2, head_dim=32, d_ff=384,
                                       vocab_size=2048, max_seq_len=128), 8, 128),
    "128 wide, own head, no dropout": (ModelConfig(d_model=128, n_layers=2, n_heads=4, n_kv_heads=4, head_dim=32,
                                                   d_ff=512, vocab_size=4096, max_seq_len=64, dropout=0.0,
                                                   tie_embeddings=False), 8, 64),
}  # fmt: skip
"""For the CPU: a model, the windows of a shard and their length."""

CARD_SHAPES: dict[str, tuple[ModelConfig, int, int]] = {
    "768 wide, 6 layers, layer norms": (ModelConfig(d_model=768, n_layers=6, n_heads=12, n_kv_heads=12, head_dim=64,
                                                    d_ff=3072, vocab_size=16384, max_seq_len=512, dialect="layer",
                                                    dtype="bfloat16"), 8, 512),
    "512 wide, 24 layers": (ModelConfig(d_model=512, n_layers=24, n_heads=8, n_kv_heads=2, head_dim=64, d_ff=1408,
                                        vocab_size=8192, max_seq_len=512, dropout=0.0, dtype="bfloat16"), 8, 512),
    "1024 wide, 4 layers, 2048 tokens": (ModelConfig(d_model=1024, n_layers=4, n_heads=16, n_kv_heads=4, head_dim=64,
                                                     d_ff=2816, vocab_size=32768, max_seq_len=2048, dropout=0.0,
                                                     tie_embeddings=False, dtype="bfloat16"), 2, 2048),
    "512 wide, 4 layers, float32": (ModelConfig(d_model=512, n_layers=4, n_heads=8, n_kv_heads=8, head_dim=64,
                                                d_ff=2048, vocab_size=8192, max_seq_len=1024), 4, 1024),
    "512 wide, 4 layers, grouped queries": (ModelConfig(d_model=512, n_layers=4, n_heads=8, n_kv_heads=4, head_dim=32,
                                                        d_ff=1536, vocab_size=8192, max_seq_len=512,
                                                        dtype="bfloat16"), 16, 512),
    "640 wide, 3 layers": (ModelConfig(d_model=640, n_layers=3, n_heads=10, n_kv_heads=10, head_dim=64, d_ff=1920,
                                       vocab_size=16384, max_seq_len=1024, dtype="bfloat16"), 4, 1024),
}  # fmt: skip
"""For the card. Estimates are fitted to the first four; the fifth was known to fit them badly, and the last was compiled
afterwards."""

LLAMAS = {
    "1B": ModelConfig(d_model=2048, n_layers=16, n_heads=32, n_kv_heads=8, head_dim=64, d_ff=8192, vocab_size=128256,
                      max_seq_len=2048, dropout=0.0, dtype="bfloat16"),
    "3B": ModelConfig(d_model=3072, n_layers=28, n_heads=24, n_kv_heads=8, head_dim=128, d_ff=8192, vocab_size=128256,
                      max_seq_len=2048, dropout=0.0, dtype="bfloat16"),
    "8B": ModelConfig(d_model=4096, n_layers=32, n_heads=32, n_kv_heads=8, head_dim=128, d_ff=14336, vocab_size=128256,
                      max_seq_len=2048, dropout=0.0, dtype="bfloat16", tie_embeddings=False),
}  # fmt: skip
"""The shapes of Llama 3.2 1B and 3B and of Llama 3.1 8B, on windows of 2,048 tokens."""

TABLE = {"chips": (8, 64, 512), "kinds": ("h100", "h200", "b200", "tpu-v5p"), "batch": 512}

TIMES: tuple[tuple[int, int, tuple[int, int, int] | None], ...] = (
    (1, 64, None), (1, 128, None), (1, 128, (1, 1, 1)), (2, 128, (1, 2, 1)), (4, 128, (1, 4, 1)), (8, 128, (1, 8, 1)),
    (8, 128, (8, 1, 1)), (8, 128, (2, 2, 2)),
)  # fmt: skip
"""Devices, d_model and mesh; None is the loop of one device."""
