//! Where keys and values lie.

use halfpi_kernels::Backend;
use halfpi_kernels::ops::{KvElement, KvLayer, KvLayout};

/// Positions that share a key tile.
const KEY_TILE: usize = 16;

#[test]
fn used_parts_hold_the_first_positions_and_nothing_else() {
    for element in [KvElement::F16, KvElement::Int8] {
        for positions in [0, 1, 15, 16, 17, 40] {
            let layout = KvLayout::new(3, 32, 40, element).unwrap();
            let mut data = vec![0u8; layout.bytes()];
            let mut layer = KvLayer::new(layout, &mut data).unwrap();
            let row: Vec<f32> = (0..3 * 32).map(|i| 1.0 + i as f32).collect();
            for position in 0..positions {
                layer.store(Backend::scalar(), position, &row, &row).unwrap();
            }
            let (mut end, mut bytes) = (0, 0);
            for part in layout.used(positions) {
                assert!(part.start >= end && !part.is_empty());
                assert!(data[end..part.start].iter().all(|&byte| byte == 0));
                (end, bytes) = (part.end, bytes + part.len());
            }
            assert!(end <= data.len() && data[end..].iter().all(|&byte| byte == 0));
            let (element_bytes, scales) = match element {
                KvElement::F16 => (2, 0),
                KvElement::Int8 => (1, 2 * 4 * 3 * positions),
            };
            let keys = positions.next_multiple_of(KEY_TILE);
            assert_eq!(bytes, 3 * 32 * element_bytes * (keys + positions) + scales);
        }
    }
}
