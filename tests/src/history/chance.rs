//! Numbers drawn from a seed: the same ones for the same seed, on every machine.

/// A stream of numbers (`SplitMix64`).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The stream of a seed. Streams of one seed with different `name`s have nothing to do with each other.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut this = Self(seed);
        for byte in name.bytes() {
            this.0 = this.0.wrapping_add(u64::from(byte));
            this.0 = this.next();
        }
        this
    }

    /// A number from `from` up to `to`, both included. `from` must not be greater.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        // The ranges here are tiny against 2^64, so that no number is noticeably likelier.
        from + self.next() % (to - from + 1)
    }

    /// True in `percent` of a hundred cases.
    pub fn happens(&mut self, percent: u64) -> bool {
        self.between(0, 99) < percent
    }

    /// One of them; `None` if there is none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() {
            return None;
        }
        let index = self.between(0, of.len() as u64 - 1);
        of.get(usize::try_from(index).unwrap_or(0))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
