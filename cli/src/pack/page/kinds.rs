//! Matrices that do the same work in different layers.

use std::collections::HashMap;

use halfpi::pack::{PackReport, TensorReport};

/// How many colours the style sheet has.
const COLORS: usize = 10;

/// All matrices of a model.
pub struct Kinds<'r> {
    /// In the order in which the file has them.
    pub list: Vec<Kind<'r>>,
    /// The layers there are, in order.
    pub layers: Vec<u64>,
}

/// Matrices with the same name but for the layer, in the same format.
pub struct Kind<'r> {
    /// `ffn_down`.
    pub name: &'r str,
    /// `phi4`.
    pub format: &'r str,
    /// Whether another kind has the same name.
    is_mixed: bool,
    /// In the order of their layers.
    pub tensors: Vec<Member<'r>>,
}

/// A matrix and where it belongs.
pub struct Member<'r> {
    /// Its place in [`Kinds::layers`].
    pub layer: Option<usize>,
    /// What became of it.
    pub tensor: &'r TensorReport,
}

impl<'r> Kinds<'r> {
    /// Sorts the matrices of a report.
    pub fn of(report: &'r PackReport) -> Self {
        let matrices = || report.tensors.iter().filter(|tensor| tensor.shape.len() > 1);
        let mut layers: Vec<u64> = matrices().filter_map(|tensor| split(&tensor.name).0).collect();
        layers.sort_unstable();
        layers.dedup();
        let mut list: Vec<Kind> = Vec::new();
        // Where kinds of a name are in the list, each of another format: no file has many formats, but it may have many
        // names.
        let mut named: HashMap<&str, Vec<usize>> = HashMap::new();
        for tensor in matrices() {
            let (layer, name) = split(&tensor.name);
            let member = Member {
                layer: layer.and_then(|layer| layers.binary_search(&layer).ok()),
                tensor,
            };
            let same_name = named.entry(name).or_default();
            match same_name.iter().find(|&&kind| list[kind].format == tensor.to) {
                Some(&kind) => list[kind].tensors.push(member),
                None => {
                    same_name.push(list.len());
                    list.push(Kind {
                        name,
                        format: &tensor.to,
                        is_mixed: false,
                        tensors: vec![member],
                    });
                }
            }
        }
        for kind in &mut list {
            kind.is_mixed = named.get(kind.name).is_some_and(|same_name| same_name.len() > 1);
            kind.tensors.sort_by_key(|member| member.layer);
        }
        Self { list, layers }
    }
}

impl Kind<'_> {
    /// Its name, with the format where that tells it from another kind.
    pub fn label(&self) -> String {
        if self.is_mixed {
            format!("{} · {}", self.name, self.format)
        } else {
            self.name.to_owned()
        }
    }
}

/// The class of the style sheet with a kind's colour.
pub fn color(kind: usize) -> String {
    format!("k{}", kind % COLORS)
}

/// `blk.3.ffn_down.weight` is `ffn_down` of layer 3.
fn split(name: &str) -> (Option<u64>, &str) {
    let short = name.strip_suffix(".weight").unwrap_or(name);
    let layer = short.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    match layer.and_then(|(layer, rest)| Some((layer.parse().ok()?, rest))) {
        Some((layer, rest)) => (Some(layer), rest),
        None => (None, short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_told_from_names() {
        assert_eq!(split("blk.3.ffn_down.weight"), (Some(3), "ffn_down"));
        assert_eq!(split("token_embd.weight"), (None, "token_embd"));
        assert_eq!(split("blk.x.y.weight"), (None, "blk.x.y"));
        assert_eq!(
            split("blk.99999999999999999999.y"),
            (None, "blk.99999999999999999999.y")
        );
    }
}
