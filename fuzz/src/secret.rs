//! Texts and programs in which secrets are looked for.

use std::{cell::RefCell, io::Read};

use coffer_images::{FILE_SECRETS_MAX, Found, Scanner};

pub(crate) const WORDS: &[&str] = &[
    "-----BEGIN PRIVATE KEY-----\n",
    "-----END PRIVATE KEY-----",
    "Proc-Type: 4,ENCRYPTED",
    "eyJ",
    "://user:",
    "@host",
    "Authorization: Bearer ",
    "curl -u user:",
    "password=",
    "\"token\": \"",
    "ghp_",
    "AKIA",
    "sk_live_",
    "8Q~",
    "T3BlbkFJ",
    ".atlasv1.",
    "\\n",
    "\0",
    "\n",
];

/// Gives out a byte at a time.
struct Slowly<'a>(&'a [u8]);

impl Read for Slowly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let one = buffer.len().min(1);
        self.0.read(buffer.get_mut(..one).unwrap_or_default())
    }
}

pub(crate) fn check(input: &[u8]) {
    thread_local! {
        static SCANNER: RefCell<Scanner> = RefCell::default();
    }
    let lines = 1 + input.iter().filter(|byte| **byte == b'\n').count() as u64;
    SCANNER.with_borrow_mut(|scanner| {
        let found = scanner.read(input).expect("memory can be read");
        assert!(found.len() <= FILE_SECRETS_MAX);
        assert!(found.iter().all(|found| found.line.is_none_or(|line| (1..=lines).contains(&line))));
        let told = |found: &[Found]| found.iter().map(|found| (found.what.id(), found.line)).collect::<Vec<_>>();
        let slowly = scanner.read(Slowly(input)).expect("memory can be read");
        assert_eq!(told(&found), told(&slowly), "it depends on how it is read");
    });
}
