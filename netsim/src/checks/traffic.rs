//! Frames are counted, so that it can be asked whether the traffic goes quiet.

/// What went over the network.
#[derive(Debug, Default)]
pub struct Traffic {
    /// How many frames were sent.
    pub frames: u64,
    /// How many bytes they held.
    pub bytes: u64,
}

impl Traffic {
    /// A frame was sent.
    pub fn sent(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes as u64;
    }
}
