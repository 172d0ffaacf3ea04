//! Programs, as somebody may have made them.

use coffer_packages::{BuiltIn, PACKAGE_TEXT_BYTES_MAX, Program};

pub(crate) const WORDS: &[&str] = &[
    "\u{7f}ELF\u{2}\u{1}",
    "\u{7f}ELF\u{1}\u{2}",
    " Go buildinf:\u{8}\u{2}",
    " Go buildinf:\u{8}\0",
    "go1.16",
    ".go.buildinfo\0",
    ".dep-v0\0",
    "mod\tx\tv1.0.0\t\n",
    "dep\ty\tv1.0.0\n",
    "=>\tz\tv1.0.1\n",
    "build\t-ldflags=\"-X main.version=1.2.3\"\n",
    "build\tvcs.time=2026",
    "{\"packages\":[",
    "x\u{1}",
    "\0\0\0\0\0\0\0\0",
    "\u{10}\0\0\0",
];

fn read(input: &[u8], chunk: usize) -> BuiltIn {
    let mut program = Program::default();
    input.chunks(chunk).for_each(|bytes| program.feed(bytes));
    program.finish()
}

pub(crate) fn check(input: &[u8]) {
    let built = read(input, usize::MAX);
    for chunk in [1, 3, 1000] {
        assert_eq!(read(input, chunk), built, "by {chunk}");
    }
    for package in &built.listed.packages {
        assert!(!package.name.is_empty() && package.name.len() <= PACKAGE_TEXT_BYTES_MAX, "{package:?}");
        assert!(package.version.len() <= PACKAGE_TEXT_BYTES_MAX, "{package:?}");
    }
    // Far into a large program it is the same, though its places are others: of that nothing but that it ends.
    let far = [&[0x7f, b'E', b'L', b'F', 2, 1, 1][..], &vec![0; 140_000], input].concat();
    drop(read(&far, 4096));
}
