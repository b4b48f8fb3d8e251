"""What restoration networks look like: named patterns that accept every spelling seen in the wild.

Functions that end in `_of` are parts of patterns, to be used inside `@pattern` functions; `channel_layer_norm`,
`channel_attention`, `gate`, `pixel_shuffle`, `pixel_shuffle_upsample` and `transposed_upsample` are whole ones, for
`graph.find`. The rest are conditions for its `unless`, and what several passes compute alike.
"""

from graphopt.idioms.attention import channel_attention, pooled
from graphopt.idioms.blocks import feed_forward_of, gated_pair_of, spatial_of, spatial_triple_of
from graphopt.idioms.channels import check_share, count_of, most_important, output_energy, response_to
from graphopt.idioms.constants import is_constant
from graphopt.idioms.convolutions import conv_of, dense, depthwise, halves_size, keeps_size
from graphopt.idioms.factors import low_rank, rank_one, second_moment
from graphopt.idioms.gates import clamped, gate, gate_of, range_of_slice
from graphopt.idioms.list_module import list_module
from graphopt.idioms.norms import LayerNorm, channel_layer_norm, epsilon_of, layer_norm_at, layer_norm_of
from graphopt.idioms.parts import Parts, sliced_parts, split_parts
from graphopt.idioms.resampling import pixel_shuffle, pixel_shuffle_of, pixel_shuffle_upsample, transposed_upsample

__all__ = [
    "LayerNorm", "Parts", "channel_attention", "channel_layer_norm", "check_share", "clamped", "conv_of", "count_of",
    "dense", "depthwise", "epsilon_of", "feed_forward_of", "gate", "gate_of", "gated_pair_of", "halves_size",
    "is_constant", "keeps_size", "layer_norm_at", "layer_norm_of", "list_module", "low_rank", "most_important",
    "output_energy", "pixel_shuffle", "pixel_shuffle_of", "pixel_shuffle_upsample", "pooled", "range_of_slice",
    "rank_one", "response_to", "second_moment", "sliced_parts", "spatial_of", "spatial_triple_of", "split_parts",
    "transposed_upsample",
]  # fmt: skip
