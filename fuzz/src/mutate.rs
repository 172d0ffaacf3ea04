//! Changes of seeds, the same again for the same number.

/// xorshift64*: random enough to stumble over things, and the same everywhere.
#[derive(Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The numbers of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`; 0 where that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap_or_default().checked_rem(limit).unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        const TELLING: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b' ', b'\n', b'"', b'.', b'/', b'{', b'('];
        let any = u8::try_from(self.below(256)).unwrap_or_default();
        TELLING.get(self.below(2 * TELLING.len())).copied().unwrap_or(any)
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> Option<&'a T> {
        of.get(self.below(of.len())).copied()
    }
}

/// A seed, changed in one to eight places, of at most `bytes_max` bytes.
#[must_use]
pub fn changed(numbers: &mut Numbers, seeds: &[&[u8]], words: &[&str], bytes_max: usize) -> Vec<u8> {
    let mut bytes = numbers.one(seeds).map(<[u8]>::to_vec).unwrap_or_default();
    for _ in 0..=numbers.below(8) {
        change(numbers, &mut bytes, seeds, words);
    }
    bytes.truncate(bytes_max);
    bytes
}

fn change(numbers: &mut Numbers, bytes: &mut Vec<u8>, seeds: &[&[u8]], words: &[&str]) {
    let at = numbers.below(bytes.len() + 1);
    let end = at + numbers.below(bytes.len() - at + 1).min(64);
    match numbers.below(8) {
        0 => {
            let bit = 1 << numbers.below(8);
            bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= bit);
        }
        1 => {
            let new = numbers.byte();
            bytes.get_mut(at).into_iter().for_each(|byte| *byte = new);
        }
        2 => bytes.insert(at, numbers.byte()),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let piece = bytes.get(at..end).unwrap_or_default().repeat(1 + numbers.below(16));
            drop(bytes.splice(at..at, piece));
        }
        5 => bytes.truncate(at),
        6 => {
            let word = numbers.one(words).unwrap_or_default();
            drop(bytes.splice(at..end, word.bytes()));
        }
        _ => {
            // The beginning of this one and the end of another.
            let other = numbers.one(seeds).unwrap_or_default();
            let from = numbers.below(other.len() + 1);
            drop(bytes.splice(at.., other.get(from..).unwrap_or_default().iter().copied()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_makes_the_same_changes_again_and_others_make_others() {
        let seeds: [&[u8]; 2] = [b"the first seed", b"the second one"];
        let made = |number| changed(&mut Numbers::new(number), &seeds, &["word"], 100);
        let all: std::collections::BTreeSet<_> = (0..1_000).map(made).collect();
        assert!(all.len() > 900, "{} of a thousand differ", all.len());
        assert!((0..1_000).all(|number| made(number) == made(number) && made(number).len() <= 100));
        assert!(changed(&mut Numbers::new(1), &[], &[], 100).len() <= 100);
    }
}
