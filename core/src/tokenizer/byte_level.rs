//! The byte-level alphabet of GPT-2: every byte has a printable character, so that a vocabulary of any bytes can be
//! written as text (Radford et al. 2019; `bytes_to_unicode` in the released code).

/// The bytes that stand for themselves.
const fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// byte -> character. The others take the characters from U+0100 on, in order.
pub(super) const BYTE_TO_CHAR: [char; 256] = {
    let mut table = ['\0'; 256];
    let mut next = 0x100u32;
    let mut byte = 0;
    while byte < 256 {
        table[byte] = if is_printable(byte as u8) {
            byte as u8 as char
        } else {
            next += 1;
            match char::from_u32(next - 1) {
                Some(c) => c,
                None => unreachable!(),
            }
        };
        byte += 1;
    }
    table
};

/// How many characters the alphabet reaches up to: U+0143 is the last.
const ALPHABET_END: usize = 0x144;

/// character -> byte, -1 where the character is not in the alphabet.
const CHAR_TO_BYTE: [i16; ALPHABET_END] = {
    let mut table = [-1; ALPHABET_END];
    let mut byte = 0;
    while byte < 256 {
        table[BYTE_TO_CHAR[byte] as usize] = byte as i16;
        byte += 1;
    }
    table
};

/// The byte that a character of the alphabet stands for.
pub(super) fn char_to_byte(c: char) -> Option<u8> {
    u8::try_from(*CHAR_TO_BYTE.get(c as usize)?).ok()
}

/// Writes `bytes` in the alphabet.
pub(super) fn write_escaped(bytes: &[u8], out: &mut String) {
    out.extend(bytes.iter().map(|&byte| BYTE_TO_CHAR[byte as usize]));
}

/// Reads a token written in the alphabet; `None` if it has any other character.
pub(super) fn unescape<'b>(token: &str, out: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    out.clear();
    for c in token.chars() {
        out.push(char_to_byte(c)?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_a_bijection() {
        let mut seen = std::collections::HashSet::new();
        for byte in 0..=255u8 {
            let c = BYTE_TO_CHAR[byte as usize];
            assert!(seen.insert(c), "{c:?} twice");
            assert_eq!(char_to_byte(c), Some(byte));
        }
        assert_eq!((BYTE_TO_CHAR[b' ' as usize], BYTE_TO_CHAR[b'\n' as usize]), ('Ġ', 'Ċ'));
        assert_eq!(
            (char_to_byte(' '), char_to_byte('\u{144}'), char_to_byte('語')),
            (None, None, None)
        );
    }
}
