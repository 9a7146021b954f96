//! A block: up to 1 MiB of the file, coded by itself, so that blocks can be coded in parallel and in little memory.
//! The [module](super) says what it looks like.

use super::frequencies::Frequencies;
use super::lanes::{Lane, MOST_LANES};
use super::rans::{self, BadStream, DecodeTable, EncodeTable, STATE_BYTES};

/// Bytes of the file that a block holds at most.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// What a coded block has at most besides its bytes: a lane that does not shrink is stored as it is.
pub(super) const MOST_OVERHEAD: usize = 1 + MOST_LANES * (2 + 1 + 4);

/// Bytes from which on tables by the byte before are worth a try: they take some kilobytes themselves.
const LEAST_TEXT: usize = 4096;

const AS_IT_IS: u8 = 0;
const ONE_TABLE: u8 = 1;
const TABLE_BY_BYTE_BEFORE: u8 = 2;

/// What makes a coded block impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadBlock {
    /// Its parts are not as long as they must be, or of an unknown kind.
    Parts,
    /// Frequencies that do not sum up.
    Table,
    /// A stream that does not end where it must.
    Stream,
}

impl From<BadStream> for BadBlock {
    fn from(_: BadStream) -> Self {
        BadBlock::Stream
    }
}

/// Codes `block` as a whole or as a cycle of `runs`, whichever is shorter.
pub(super) fn encode(block: &[u8], runs: &[u16]) -> Vec<u8> {
    let whole = encode_lanes(block, &[1]);
    if runs.len() < 2 || cycle(runs) > block.len() {
        return whole;
    }
    let lanes = encode_lanes(block, runs);
    if lanes.len() < whole.len() { lanes } else { whole }
}

/// Bytes of a cycle of these runs.
fn cycle(runs: &[u16]) -> usize {
    runs.iter().map(|&run| usize::from(run)).sum()
}

fn encode_lanes(block: &[u8], runs: &[u16]) -> Vec<u8> {
    let mut out = vec![runs.len() as u8];
    if let [_, _, ..] = runs {
        out.extend(runs.iter().flat_map(|run| run.to_le_bytes()));
    }
    for lane in Lane::of(runs) {
        let taken;
        let bytes = match runs {
            [_] => block,
            _ => {
                taken = lane.take(block);
                &taken
            }
        };
        encode_lane(bytes, &mut out);
    }
    out
}

fn encode_lane(lane: &[u8], out: &mut Vec<u8>) {
    let header = out.len();
    out.extend([0; 5]);
    let data = out.len();
    let counts = count(lane);
    let coding = match Frequencies::of(&counts) {
        Some(frequencies) if estimate(&frequencies, &counts) < lane.len() => {
            let one = estimate(&frequencies, &counts);
            match TablesByByte::shorter_than(one / 8 * 7, lane) {
                Some(tables) => {
                    tables.encode(lane, out);
                    TABLE_BY_BYTE_BEFORE
                }
                None => {
                    frequencies.write(out);
                    let table = EncodeTable::new(&frequencies);
                    rans::encode(lane, |_| &table, out);
                    ONE_TABLE
                }
            }
        }
        _ => AS_IT_IS,
    };
    let shrinks = coding != AS_IT_IS && out.len() - data < lane.len();
    if !shrinks {
        out.truncate(data);
        out.extend(lane);
    }
    let bytes = (out.len() - data) as u32;
    out[header] = if shrinks { coding } else { AS_IT_IS };
    out[header + 1..data].copy_from_slice(&bytes.to_le_bytes());
}

fn count(bytes: &[u8]) -> [u32; 256] {
    let mut counts = [0; 256];
    bytes.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
    counts
}

/// Bytes of a table and a stream, to within a few.
fn estimate(frequencies: &Frequencies, counts: &[u32; 256]) -> usize {
    frequencies.written_bytes() + STATE_BYTES + (frequencies.bits(counts) / 8.0) as usize
}

/// A table for each byte that another one follows: for text, of which the metadata of a model mostly consists.
struct TablesByByte(Vec<Option<Frequencies>>);

impl TablesByByte {
    /// The tables of `lane`, if it takes fewer than `bytes` with them.
    fn shorter_than(bytes: usize, lane: &[u8]) -> Option<Self> {
        if lane.len() < LEAST_TEXT {
            return None;
        }
        let mut counts = vec![[0u32; 256]; 256];
        let mut before = 0;
        for &byte in lane {
            counts[usize::from(before)][usize::from(byte)] += 1;
            before = byte;
        }
        // A lower bound first: exact frequencies of many full tables take long to find.
        let bound: f64 = counts.iter().map(|counts| 32.0 + entropy_bits(counts) / 8.0).sum();
        if bound > bytes as f64 {
            return None;
        }
        let tables: Vec<_> = counts.iter().map(Frequencies::of).collect();
        let cost = |(table, counts): (&Option<Frequencies>, _)| {
            let table = table.as_ref();
            table.map_or(0, |table| table.written_bytes() + (table.bits(counts) / 8.0) as usize)
        };
        let total: usize = tables.iter().zip(&counts).map(cost).sum();
        (32 + STATE_BYTES + total < bytes).then_some(Self(tables))
    }

    fn encode(&self, lane: &[u8], out: &mut Vec<u8>) {
        let mut follows = [0u8; 32];
        let mut index_of = [0; 256];
        for (index, (byte, _)) in self.present().enumerate() {
            follows[byte / 8] |= 1 << (byte % 8);
            index_of[byte] = index;
        }
        out.extend(follows);
        self.present().for_each(|(_, table)| table.write(out));
        let tables: Vec<_> = self.present().map(|(_, table)| EncodeTable::new(table)).collect();
        let table = |index: usize| {
            let before = index.checked_sub(1).map_or(0, |before| lane[before]);
            &tables[index_of[usize::from(before)]]
        };
        rans::encode(lane, table, out);
    }

    /// The bytes that another follows, and their tables.
    fn present(&self) -> impl Iterator<Item = (usize, &Frequencies)> {
        let tables = self.0.iter().enumerate();
        tables.filter_map(|(byte, table)| Some((byte, table.as_ref()?)))
    }
}

/// Bits that bytes of these counts take at least, and a byte for each entry of their table.
fn entropy_bits(counts: &[u32; 256]) -> f64 {
    let sum: f64 = counts.iter().map(|&count| f64::from(count)).sum();
    let cost = |&count: &u32| match count {
        0 => 0.0,
        _ => 8.0 + f64::from(count) * (sum / f64::from(count)).log2(),
    };
    counts.iter().map(cost).sum()
}

/// Fills `block` from its coded form.
pub(super) fn decode(mut coded: &[u8], block: &mut [u8]) -> Result<(), BadBlock> {
    let mut runs = [1u16; MOST_LANES];
    let lanes = usize::from(*coded.split_off_first().ok_or(BadBlock::Parts)?);
    let runs = runs
        .get_mut(..lanes)
        .filter(|runs| !runs.is_empty())
        .ok_or(BadBlock::Parts)?;
    if lanes > 1 {
        for run in runs.iter_mut() {
            *run = u16::from_le_bytes(array(&mut coded)?);
        }
        // Otherwise a run could have more than one length and mean the same.
        if runs.contains(&0) || cycle(runs) > block.len() {
            return Err(BadBlock::Parts);
        }
    }
    for lane in Lane::of(runs) {
        let [coding] = array(&mut coded)?;
        let bytes = u32::from_le_bytes(array(&mut coded)?) as usize;
        let data = coded.split_off(..bytes).ok_or(BadBlock::Parts)?;
        if lanes == 1 {
            decode_lane(coding, data, block)?;
        } else {
            let mut taken = vec![0; lane.bytes(block.len())];
            decode_lane(coding, data, &mut taken)?;
            lane.put(&taken, block);
        }
    }
    if coded.is_empty() { Ok(()) } else { Err(BadBlock::Parts) }
}

fn decode_lane(coding: u8, mut data: &[u8], lane: &mut [u8]) -> Result<(), BadBlock> {
    match coding {
        AS_IT_IS if data.len() == lane.len() => lane.copy_from_slice(data),
        ONE_TABLE => {
            let table = Frequencies::read(&mut data).ok_or(BadBlock::Table)?;
            rans::decode(data, &DecodeTable::new(&table), lane)?;
        }
        TABLE_BY_BYTE_BEFORE => {
            let follows: [u8; 32] = array(&mut data)?;
            let mut tables = Vec::with_capacity(256);
            for byte in 0..256 {
                tables.push(if follows[byte / 8] >> (byte % 8) & 1 == 1 {
                    let table = Frequencies::read(&mut data).ok_or(BadBlock::Table)?;
                    Some(DecodeTable::new(&table))
                } else {
                    None
                });
            }
            rans::decode_after(data, &tables, lane)?;
        }
        _ => return Err(BadBlock::Parts),
    }
    Ok(())
}

/// The next `N` bytes.
fn array<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], BadBlock> {
    input
        .split_off(..N)
        .and_then(|bytes| bytes.first_chunk())
        .copied()
        .ok_or(BadBlock::Parts)
}
