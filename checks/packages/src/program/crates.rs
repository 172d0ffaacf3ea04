//! Crates: the section `.dep-v0` of `cargo auditable`, JSON that is compressed by zlib.

use std::io::Read as _;

use flate2::{Decompress, FlushDecompress, read::ZlibDecoder};
use serde::Deserialize;

use super::CRATES_BYTES_MAX;
use crate::{Ecosystem, Package, database::Listed};

/// What every stream of zlib that is met begins with.
pub(super) const ZLIB: u8 = 0x78;
/// Bytes that are decompressed to see what it is.
const LOOK_BYTES: usize = 16;

#[derive(Deserialize)]
struct Audit {
    packages: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    /// What is for the build alone is not in the program.
    #[serde(default)]
    kind: Option<String>,
}

/// Whether JSON in zlib begins here, as the list does.
pub(super) fn begins(bytes: &[u8]) -> bool {
    if !matches!(bytes, [ZLIB, 0x01 | 0x5e | 0x9c | 0xda, ..]) {
        return false;
    }
    let mut out = Vec::with_capacity(LOOK_BYTES);
    // It goes on, so that an end is an error; what came out before it counts.
    drop(Decompress::new(true).decompress_vec(bytes, &mut out, FlushDecompress::None));
    let mut text = out.iter().filter(|byte| !byte.is_ascii_whitespace());
    text.next() == Some(&b'{') && text.next() == Some(&b'"')
}

pub(super) fn read(bytes: &[u8]) -> Result<Listed, &'static str> {
    const WRONG: &str = "its list of crates cannot be read";
    let mut text = Vec::new();
    ZlibDecoder::new(bytes).take(CRATES_BYTES_MAX + 1).read_to_end(&mut text).map_err(|_| WRONG)?;
    if text.len() as u64 > CRATES_BYTES_MAX {
        return Err("its list of crates is larger than is read");
    }
    let audit: Audit = serde_json::from_slice(&text).map_err(|_| WRONG)?;
    let mut listed = Listed::default();
    for one in audit.packages.iter().filter(|one| one.kind.as_deref().is_none_or(|kind| kind == "runtime")) {
        match Package::new(Ecosystem::Rust, &one.name, &one.version) {
            Some(package) => listed.packages.push(package),
            None => listed.left_out += 1,
        }
    }
    Ok(listed)
}
