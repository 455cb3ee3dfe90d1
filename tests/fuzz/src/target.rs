//! What hostile bytes are given to, each by a name.

mod joining;
mod kube;
mod records;
mod streams;
mod texts;
mod words;

/// A decoder or parser.
pub trait Target {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// Valid inputs to begin with.
    fn seeds(&self) -> Vec<Vec<u8>>;

    /// Gives it an input. The answer says what became of it, so that inputs of other kinds are told apart.
    fn execute(&mut self, input: &[u8]) -> String;

    /// Forgets what earlier inputs have left behind.
    fn begin_anew(&mut self) {}
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Box<dyn Target>> {
    vec![
        Box::new(words::Frames::new()),
        Box::new(words::Words::new()),
        Box::new(words::Questions::new()),
        Box::new(words::Chunks::new()),
        Box::new(words::Reports::new()),
        Box::new(records::Records::new()),
        Box::new(kube::Manifests),
        Box::new(kube::Protobuf),
        Box::new(kube::Patches::new()),
        Box::new(kube::Applied),
        Box::new(texts::Urls),
        Box::new(texts::Tokens),
        Box::new(texts::Codes),
        Box::new(joining::Door::new()),
        Box::new(streams::Spdy),
        Box::new(streams::Sessions),
    ]
}
