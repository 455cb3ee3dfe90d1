//! How an input becomes another one: bits, bytes, numbers and pieces are changed, and pieces of other inputs come in.

use rand::RngExt;
use rand::seq::IndexedRandom;
use skein_gossip::Rng;

/// The longest input, in bytes; longer ones are cut.
pub const MAX_INPUT_BYTES: usize = 32 * 1024;
/// The most changes that are made to an input at once.
const MAX_CHANGES: usize = 6;
/// What parsers care about.
const WORDS: [&[u8]; 36] = [
    b"\0",
    b"\xff",
    b"\x80",
    b"\x7f",
    b"\r\n",
    b"\n",
    b"\t",
    b" ",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"-1",
    b"1e309",
    b"9223372036854775808",
    b"$patch",
    b"$setElementOrder/containers",
    b"$retainKeys",
    b"..",
    b"/",
    b"%00",
    b"%",
    b"&",
    b"*",
    b"~1",
    b"k8s\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xef\xbf\xbf",
    b"!!binary",
];

/// Another input, made of one and perhaps a piece of a second.
#[must_use]
pub fn mutated(rng: &mut Rng, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..rng.random_range(1..=MAX_CHANGES) {
        change(rng, &mut bytes, other);
    }
    bytes.truncate(MAX_INPUT_BYTES);
    bytes
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = rng.random_range(0..=bytes.len());
    let longest = (bytes.len() - at).min(64);
    let length = if longest == 0 { 0 } else { rng.random_range(0..=longest) };
    match rng.random_range(0..11) {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.random_range(0..8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = rng.random();
            }
        }
        3 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = byte.wrapping_add(*[1, 255, 16, 128].choose(rng).unwrap_or(&1));
            }
        }
        4 => drop(bytes.drain(at..at + length)),
        5 => {
            let copy = bytes[at..at + length].to_vec();
            let to = rng.random_range(0..=bytes.len());
            bytes.splice(to..to, copy);
        }
        6 => {
            let word = WORDS.choose(rng).copied().unwrap_or_default();
            bytes.splice(at..at, word.iter().copied());
        }
        7 => {
            let word = WORDS.choose(rng).copied().unwrap_or_default();
            let end = (at + word.len()).min(bytes.len());
            bytes.splice(at..end, word.iter().copied());
        }
        8 => bytes.truncate(at),
        9 => {
            let from = rng.random_range(0..=other.len());
            let until = rng.random_range(from..=other.len().min(from + 256));
            bytes.splice(at..at + length, other[from..until].iter().copied());
        }
        // A piece many times over, as nesting is made.
        _ => {
            let piece = bytes[at..at + length.min(8)].to_vec();
            let times = rng.random_range(0..300);
            let all: Vec<u8> = std::iter::repeat_n(piece, times).flatten().collect();
            bytes.splice(at..at, all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_gossip::random;

    #[test]
    fn nothing_and_everything_can_be_mutated_and_stays_within_bounds() {
        let mut rng = random::from_seed(1);
        let long = vec![7; MAX_INPUT_BYTES];
        for input in [&[][..], b"x", &long] {
            for _ in 0..2_000 {
                assert!(mutated(&mut rng, input, &long).len() <= MAX_INPUT_BYTES);
                assert!(mutated(&mut rng, input, &[]).len() <= MAX_INPUT_BYTES);
            }
        }
    }
}
