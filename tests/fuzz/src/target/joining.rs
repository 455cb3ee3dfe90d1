//! What a stranger asks a member that has invited somebody: to be let in, whether a number is open, the steps of an exchange.

use skein_node::joining::fuzz;

use super::Target;

/// The questions of the admission protocol. Whoever has not the code must never be given what it stands for.
pub(super) struct Door(fuzz::Door);

impl Door {
    pub(super) fn new() -> Self {
        Door(fuzz::Door::default())
    }
}

impl Target for Door {
    fn name(&self) -> &'static str {
        "admission"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        fuzz::Door::seeds()
    }

    fn execute(&mut self, input: &[u8]) -> String {
        self.0.hear(input).into()
    }

    fn begin_anew(&mut self) {
        self.0 = fuzz::Door::default();
    }
}
