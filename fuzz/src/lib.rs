//! What is read from others' hands, and what must hold whatever it is: more than that nothing panics.
//!
//! Each [`Target`] is a function of bytes. `tests/seeds.rs` feeds it the seeds and thousands of changes of them, in every
//! run of the tests; `fuzz/run` feeds it what libFuzzer thinks of, for as long as it is told to.

mod access;
mod advisory;
mod agent;
mod archive;
mod envelope;
mod host;
mod image;
mod layer;
pub mod mutate;
mod package;
mod path;
mod policy;
mod program;
mod secret;
mod signature;
mod snapshot;
mod token;
mod version;
mod workload;

/// Something that reads what it did not write.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name, and that of the folder of its seeds.
    pub name: &'static str,
    /// Reads this; panics where something does not hold.
    pub check: fn(&[u8]),
    /// What its inputs are made of, for those who change them: words that mean something.
    pub words: &'static [&'static str],
    /// Bytes of an input that are worth trying, at most.
    pub bytes_max: usize,
    /// How many changed seeds a run of the tests tries: a second or two without optimisation.
    pub changes: u32,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "path", check: path::check, words: path::WORDS, bytes_max: 2_048, changes: 200_000 },
    Target { name: "token", check: token::check, words: token::WORDS, bytes_max: 10_000, changes: 40_000 },
    Target { name: "envelope", check: envelope::check, words: &[], bytes_max: 4_096, changes: 20_000 },
    Target { name: "policy", check: policy::check, words: policy::WORDS, bytes_max: 8_192, changes: 3_000 },
    Target { name: "snapshot", check: snapshot::check, words: &[], bytes_max: 64 << 10, changes: 10_000 },
    Target { name: "agent-config", check: agent::config, words: agent::CONFIG_WORDS, bytes_max: 8_192, changes: 20_000 },
    Target { name: "template", check: agent::template, words: agent::TEMPLATE_WORDS, bytes_max: 4_096, changes: 10_000 },
    Target { name: "host", check: host::check, words: host::WORDS, bytes_max: 4_096, changes: 1_000 },
    Target { name: "image", check: image::check, words: image::WORDS, bytes_max: 2_048, changes: 40_000 },
    Target { name: "layer", check: layer::check, words: layer::WORDS, bytes_max: 16 << 10, changes: 2_000 },
    Target { name: "secret", check: secret::check, words: secret::WORDS, bytes_max: 4_096, changes: 40_000 },
    Target { name: "signature", check: signature::check, words: signature::WORDS, bytes_max: 4_096, changes: 4_000 },
    Target { name: "workload", check: workload::check, words: workload::WORDS, bytes_max: 4_096, changes: 40_000 },
    Target { name: "package", check: package::check, words: package::WORDS, bytes_max: 4_096, changes: 40_000 },
    Target { name: "program", check: program::check, words: program::WORDS, bytes_max: 8_192, changes: 1_000 },
    Target { name: "version", check: version::check, words: version::WORDS, bytes_max: 256, changes: 60_000 },
    Target { name: "advisory", check: advisory::check, words: advisory::WORDS, bytes_max: 4_096, changes: 6_000 },
    Target { name: "access", check: access::check, words: access::WORDS, bytes_max: 4_096, changes: 20_000 },
    Target { name: "archive", check: archive::check, words: archive::WORDS, bytes_max: 16 << 10, changes: 4_000 },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Runs something that waits, with nothing else to do.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    use tokio::runtime::{Builder, Runtime};
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().build().expect("a runtime needs no more than memory");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}
