//! What tensors are called on the hub.

/// A block's tensors in GGUF, and in transformers.
const BLOCK: [(&str, &str); 16] = [
    ("attn_norm.weight", "input_layernorm.weight"),
    ("attn_q.weight", "self_attn.q_proj.weight"),
    ("attn_k.weight", "self_attn.k_proj.weight"),
    ("attn_v.weight", "self_attn.v_proj.weight"),
    ("attn_q.bias", "self_attn.q_proj.bias"),
    ("attn_k.bias", "self_attn.k_proj.bias"),
    ("attn_v.bias", "self_attn.v_proj.bias"),
    ("attn_q_norm.weight", "self_attn.q_norm.weight"),
    ("attn_k_norm.weight", "self_attn.k_norm.weight"),
    ("attn_sub_norm.weight", "self_attn.attn_sub_norm.weight"),
    ("attn_output.weight", "self_attn.o_proj.weight"),
    ("ffn_norm.weight", "post_attention_layernorm.weight"),
    ("ffn_gate.weight", "mlp.gate_proj.weight"),
    ("ffn_up.weight", "mlp.up_proj.weight"),
    ("ffn_sub_norm.weight", "mlp.ffn_sub_norm.weight"),
    ("ffn_down.weight", "mlp.down_proj.weight"),
];

/// What transformers calls a tensor of a GGUF, in the families of real numbers: `model.layers.0.self_attn.q_proj.weight`
/// for `blk.0.attn_q.weight`. `None` for what it has no tensor for, such as `rope_freqs.weight`.
///
/// The rows of queries and keys of a `llama` are in another order there: see
/// [`Architecture::rope_pairs`](crate::transformer::Architecture::rope_pairs).
pub fn hub_name(name: &str) -> Option<String> {
    let known = match name {
        "token_embd.weight" => "model.embed_tokens.weight",
        "output_norm.weight" => "model.norm.weight",
        "output.weight" => "lm_head.weight",
        _ => {
            let (block, rest) = name.strip_prefix("blk.")?.split_once('.')?;
            let block: usize = block.parse().ok()?;
            let (_, rest) = BLOCK.iter().find(|(gguf, _)| *gguf == rest)?;
            return Some(format!("model.layers.{block}.{rest}"));
        }
    };
    Some(known.to_owned())
}
