//! The protocol on its own: small models of voters, slots and leases, every reachable state of which is looked at, and for
//! each rule a weaker one that the search must break. docs/model.md says what this covers and what it does not.
//!
//! `cargo test -p skein-core --test model -- --nocapture` also tells the shortest way in which each weaker rule fails.

mod model {
    mod checker;
    mod leases;
    mod page;
    mod slots;
    mod voters;
}
