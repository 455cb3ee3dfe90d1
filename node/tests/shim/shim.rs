//! The shim alone, as the tests of the `process` runtime run it: `skein-test-shim __shim STATE_DIR`.

fn main() {
    let dir = std::env::args_os().nth(2).unwrap_or_default();
    std::process::exit(skein_node::runtime::shim_main(dir.as_ref()));
}
