//! libFuzzer's main for every target: `COFFER_FUZZ_TARGET` says which.
#![no_main]
#![allow(missing_docs)]

use std::sync::LazyLock;

use coffer_fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("COFFER_FUZZ_TARGET").unwrap_or_default();
    coffer_fuzz::target(&name).unwrap_or_else(|| panic!("COFFER_FUZZ_TARGET={name}: there is no such target"))
});

fuzz_target!(|input: &[u8]| (TARGET.check)(input));
