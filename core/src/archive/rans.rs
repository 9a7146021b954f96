//! Range asymmetric numeral systems: bytes as one number, in nearly as few bits as their frequencies allow.
//!
//! J. Duda, "Asymmetric numeral systems: entropy coding combining speed of Huffman coding with compression rate of
//! arithmetic coding", arXiv:1311.2540; interleaved after F. Giesen, "Interleaved entropy coders", arXiv:1402.3392.
//!
//! A state of 32 bits takes up bytes until it would overflow, and then gives its low 16 bits away as a word. Eight
//! states take turns, byte `i` going to state `i % 8`, so that a processor works on eight bytes at once; they share one
//! sequence of words. Encoding goes backwards through the bytes, so that decoding goes forwards.
//!
//! A stream is the eight states as the decoder starts with them, then the words, all little-endian. Every state ends
//! where the encoder began, at [`LOWEST`], with the last word: a stream that does not is damaged. Since each step can be
//! undone, no two streams stand for the same bytes.

use std::hint::select_unpredictable;

use super::frequencies::{BITS, Frequencies, TOTAL};

/// States that take turns.
pub(super) const STATES: usize = 8;
/// Between two bytes a state is at least this.
const LOWEST: u32 = 1 << 16;
/// Bytes of a stream before its words.
pub(super) const STATE_BYTES: usize = STATES * 4;

/// What an encoder needs of a byte's frequency.
pub(super) struct EncodeTable {
    /// Frequency, and the sum of those before it.
    symbols: [(u32, u32); 256],
}

impl EncodeTable {
    pub(super) fn new(frequencies: &Frequencies) -> Self {
        let mut before = 0;
        let symbols = frequencies.get().map(|f| {
            let symbol = (u32::from(f), before);
            before += u32::from(f);
            symbol
        });
        Self { symbols }
    }
}

/// For each of the [`TOTAL`] values of a state's low bits: the byte (8 bits), its frequency less 1 (12 bits), and how
/// far the value lies inside the byte's range (12 bits). All of it fits in the smallest first-level caches.
pub(super) struct DecodeTable(Box<[u32; TOTAL as usize]>);

impl DecodeTable {
    pub(super) fn new(frequencies: &Frequencies) -> Self {
        let mut slots = Vec::with_capacity(TOTAL as usize);
        for (symbol, f) in frequencies.occurring() {
            let f = u32::from(f);
            slots.extend((0..f).map(|inside| symbol as u32 | (f - 1) << 8 | inside << 20));
        }
        // Frequencies sum up to TOTAL, so there is one slot for each value.
        slots.resize(TOTAL as usize, 0);
        let slots = slots.into_boxed_slice().try_into();
        Self(slots.unwrap_or_else(|_| Box::new([0; TOTAL as usize])))
    }

    /// Takes the next byte off `state`, which may then be below [`LOWEST`] and need a word.
    #[inline(always)]
    fn take(&self, state: &mut u32) -> u8 {
        let slot = self.0[(*state % TOTAL) as usize];
        *state = ((slot >> 8 & 0xfff) + 1) * (*state >> BITS) + (slot >> 20);
        slot as u8
    }
}

/// Appends `bytes` as a stream. `table` gives the table of the byte at an index; it must have every byte that it is
/// asked for.
pub(super) fn encode<'t>(bytes: &[u8], table: impl Fn(usize) -> &'t EncodeTable, out: &mut Vec<u8>) {
    let mut states = [LOWEST; STATES];
    let mut words: Vec<u16> = Vec::new();
    for (index, &byte) in bytes.iter().enumerate().rev() {
        let state = &mut states[index % STATES];
        let (f, before) = table(index).symbols[usize::from(byte)];
        debug_assert!(f > 0, "byte {byte} has no frequency");
        let f = f.max(1);
        // Where the next step would leave 32 bits.
        if u64::from(*state) >= u64::from(f) << (32 - BITS) {
            words.push(*state as u16);
            *state >>= 16;
        }
        *state = ((*state / f) << BITS) + *state % f + before;
    }
    out.extend(states.iter().flat_map(|state| state.to_le_bytes()));
    out.extend(words.iter().rev().flat_map(|word| word.to_le_bytes()));
}

/// Why a stream cannot be decoded: it is not one that [`encode`] makes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadStream;

/// A stream that is being decoded.
struct Decoder<'a> {
    states: [u32; STATES],
    words: &'a [u8],
}

impl<'a> Decoder<'a> {
    fn new(stream: &'a [u8]) -> Result<Self, BadStream> {
        let (states, words) = stream.split_at_checked(STATE_BYTES).ok_or(BadStream)?;
        let mut states = states
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let states = std::array::from_fn(|_| states.next().unwrap_or_default());
        if states.iter().any(|&state| state < LOWEST) || words.len() % 2 != 0 {
            return Err(BadStream);
        }
        Ok(Self { states, words })
    }

    /// Gives a state the word that it needs after a byte was taken off it.
    fn refill(&mut self, state: usize) -> Result<(), BadStream> {
        let state = &mut self.states[state];
        if *state < LOWEST {
            let word = self.words.split_off(..2).ok_or(BadStream)?;
            *state = *state << 16 | u32::from(u16::from_le_bytes([word[0], word[1]]));
        }
        Ok(())
    }

    fn finish(self) -> Result<(), BadStream> {
        if self.words.is_empty() && self.states == [LOWEST; STATES] {
            Ok(())
        } else {
            Err(BadStream)
        }
    }
}

/// Fills `out` from a stream whose bytes all have one table.
pub(super) fn decode(stream: &[u8], table: &DecodeTable, out: &mut [u8]) -> Result<(), BadStream> {
    let mut decoder = Decoder::new(stream)?;
    let mut rounds = out.chunks_exact_mut(STATES);
    // A round in which every state finds its word without looking whether there is one.
    while let Some(words) = decoder.words.first_chunk::<{ STATES * 2 }>()
        && let Some(round) = rounds.next()
    {
        let mut used = 0;
        for (state, byte) in decoder.states.iter_mut().zip(round) {
            *byte = table.take(state);
            // The masks show that no index is out of bounds.
            let word = u16::from_le_bytes([words[used % 16], words[(used + 1) % 16]]);
            let needed = *state < LOWEST;
            *state = select_unpredictable(needed, *state << 16 | u32::from(word), *state);
            used += 2 * usize::from(needed);
        }
        decoder.words = &decoder.words[used..];
    }
    for round in rounds.by_ref() {
        for (state, byte) in round.iter_mut().enumerate() {
            *byte = table.take(&mut decoder.states[state]);
            decoder.refill(state)?;
        }
    }
    for (state, byte) in rounds.into_remainder().iter_mut().enumerate() {
        *byte = table.take(&mut decoder.states[state]);
        decoder.refill(state)?;
    }
    decoder.finish()
}

/// Fills `out` from a stream in which the byte before (0 before the first) says which table a byte has.
pub(super) fn decode_after(stream: &[u8], tables: &[Option<DecodeTable>], out: &mut [u8]) -> Result<(), BadStream> {
    let mut decoder = Decoder::new(stream)?;
    let mut before = 0;
    for (index, byte) in out.iter_mut().enumerate() {
        let table = tables
            .get(usize::from(before))
            .and_then(Option::as_ref)
            .ok_or(BadStream)?;
        *byte = table.take(&mut decoder.states[index % STATES]);
        decoder.refill(index % STATES)?;
        before = *byte;
    }
    decoder.finish()
}
#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::convert::Infallible;
    use std::iter;

    use constriction::backends::FallibleIteratorReadWords;
    use constriction::stream::Decode;
    use constriction::stream::model::{ContiguousCategoricalEntropyModel, DefaultContiguousCategoricalEntropyModel};
    use constriction::stream::stack::{DefaultAnsCoder, SmallAnsCoder};

    use super::*;

    /// The 8-bit sums of `terms` random bytes: the more, the more like a bell curve.
    fn bytes(len: usize, terms: u32) -> Vec<u8> {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 24
        };
        let sum = |_| (0..terms).map(|_| random()).sum::<u32>() / terms.max(1);
        (0..len).map(sum).map(|sum| sum as u8).collect()
    }

    fn counts(bytes: &[u8]) -> [u32; 256] {
        let mut counts = [0; 256];
        bytes.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
        counts
    }

    /// Any table, if there is nothing to count.
    fn frequencies(bytes: &[u8]) -> Frequencies {
        Frequencies::of(&counts(bytes))
            .or_else(|| Frequencies::of(&[1; 256]))
            .unwrap()
    }

    fn coded(bytes: &[u8]) -> Vec<u8> {
        let table = EncodeTable::new(&frequencies(bytes));
        let mut stream = Vec::new();
        encode(bytes, |_| &table, &mut stream);
        stream
    }

    fn decoded(stream: &[u8], frequencies: &Frequencies, len: usize) -> Result<Vec<u8>, BadStream> {
        let mut bytes = vec![0; len];
        decode(stream, &DecodeTable::new(frequencies), &mut bytes).map(|()| bytes)
    }

    #[test]
    fn streams_round_trip() {
        let samples = (0..70)
            .chain([1000, 65_537])
            .flat_map(|len| [0, 1, 2, 6].map(|terms| bytes(len, terms)));
        for sample in samples {
            let stream = coded(&sample);
            assert_eq!(decoded(&stream, &frequencies(&sample), sample.len()), Ok(sample));
        }
        // One byte over and over says nothing.
        assert_eq!(coded(&[7; 1000]).len(), STATE_BYTES);
    }

    #[test]
    fn tables_by_the_byte_before_round_trip() {
        for len in [0, 1, 7, 8, 9, 3000] {
            let sample = bytes(len, 3);
            let full = Frequencies::of(&std::array::from_fn(|byte| byte as u32 + 1)).unwrap();
            let (encoding, decoding) = (EncodeTable::new(&full), || Some(DecodeTable::new(&full)));
            let mut stream = Vec::new();
            encode(&sample, |_| &encoding, &mut stream);
            let mut back = vec![0; len];
            let tables: Vec<_> = (0..256).map(|_| decoding()).collect();
            assert_eq!(decode_after(&stream, &tables, &mut back), Ok(()));
            assert_eq!(back, sample);
            let none: Vec<_> = (0..256).map(|_| None).collect();
            assert_eq!(decode_after(&stream, &none, &mut back).is_ok(), len == 0);
        }
    }

    #[test]
    fn damaged_streams_are_refused_or_stand_for_other_bytes() {
        let sample = bytes(100, 4);
        let (stream, frequencies) = (coded(&sample), frequencies(&sample));
        for len in 0..stream.len() {
            assert_eq!(
                decoded(&stream[..len], &frequencies, sample.len()),
                Err(BadStream),
                "{len}"
            );
        }
        assert_eq!(
            decoded(&[&stream[..], &[0, 0]].concat(), &frequencies, sample.len()),
            Err(BadStream)
        );
        for bit in 0..stream.len() * 8 {
            let mut stream = stream.clone();
            stream[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(
                decoded(&stream, &frequencies, sample.len()).as_ref(),
                Ok(&sample),
                "bit {bit}"
            );
        }
        // What no encoder writes; the states would never grow from 0.
        assert_eq!(decoded(&[0; STATE_BYTES], &frequencies, 10), Err(BadStream));
        assert_eq!(decoded(&[0xff; STATE_BYTES], &frequencies, 100_000), Err(BadStream));
    }

    /// constriction's model of the same frequencies, and the bytes it counts: its symbols are consecutive.
    fn constriction_model(
        frequencies: &Frequencies,
    ) -> (ContiguousCategoricalEntropyModel<u16, Vec<u16>, 12>, Vec<u8>) {
        let (symbols, probabilities): (Vec<_>, Vec<_>) = frequencies.occurring().unzip();
        let model = ContiguousCategoricalEntropyModel::from_nonzero_fixed_point_probabilities(probabilities, false);
        (model.unwrap(), symbols.iter().map(|&symbol| symbol as u8).collect())
    }

    /// Each of the eight states is an `AnsCoder<u16, u32>` of constriction's; they read from one sequence of words.
    #[test]
    fn constriction_decodes_our_streams() {
        for terms in [1, 2, 6] {
            let sample = bytes(50_001, terms);
            let stream = coded(&sample);
            let (model, symbols) = constriction_model(&frequencies(&sample));
            let (states, words) = stream.split_at(STATE_BYTES);
            let word = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
            let words = RefCell::new(words.chunks_exact(2).map(word));
            let mut coders: Vec<_> = states
                .chunks_exact(4)
                .map(|state| {
                    let shared = iter::from_fn(|| words.borrow_mut().next().map(Ok::<u16, Infallible>));
                    let state = u32::from(word(state)) | u32::from(word(&state[2..])) << 16;
                    SmallAnsCoder::from_raw_parts(FallibleIteratorReadWords::new(shared), state)
                })
                .collect();
            for (index, &byte) in sample.iter().enumerate() {
                let symbol: usize = coders[index % STATES].decode_symbol(&model).unwrap();
                assert_eq!(symbols[symbol], byte, "byte {index}");
            }
            assert_eq!(words.borrow_mut().next(), None);
        }
    }

    #[test]
    fn streams_are_as_short_as_those_of_constriction() {
        for terms in [1, 2, 6] {
            let sample = bytes(1 << 18, terms);
            let frequencies = frequencies(&sample);
            let (model, symbols) = constriction_model(&frequencies);
            let index_of = |byte| symbols.iter().position(|&symbol| symbol == byte).unwrap();
            let mut same_model = DefaultAnsCoder::new();
            same_model
                .encode_iid_symbols_reverse(sample.iter().map(|&byte| index_of(byte)), &model)
                .unwrap();
            // And with its own choice of probabilities, in 24 bits.
            let probabilities: Vec<f32> = counts(&sample).iter().map(|&count| count as f32).collect();
            let own = DefaultContiguousCategoricalEntropyModel::from_floating_point_probabilities_fast(
                &probabilities[..],
                None,
            );
            let mut own_model = DefaultAnsCoder::new();
            let all = sample.iter().map(|&byte| usize::from(byte));
            own_model.encode_iid_symbols_reverse(all, &own.unwrap()).unwrap();

            let ours = coded(&sample).len() as f64;
            let bits = frequencies.bits(&counts(&sample));
            assert!(
                ours < bits / 8.0 * 1.0002 + STATE_BYTES as f64,
                "{ours} bytes for {bits} bits"
            );
            let same = same_model.num_bits() as f64 / 8.0;
            assert!(
                ours < same * 1.0002 + STATE_BYTES as f64,
                "{ours} bytes, constriction {same}"
            );
            let own = own_model.num_bits() as f64 / 8.0;
            assert!(
                ours < own * 1.002,
                "{ours} bytes, constriction with its own model {own}"
            );
        }
    }
}
