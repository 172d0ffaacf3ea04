//! The files of a log: names, first lines, limits. docs/audit.md describes them for readers of logs.
//!
//! A folder holds the logs of one node: `epoch-000001/`, `epoch-000002/`, ... Each epoch is a log of its own, with its
//! own tree: a file `checkpoints`, and segments `log-000000000000.jsonl`, named after their first entry.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{checkpoint::Origin, merkle::Hash, note::VerifierKey};

/// The version of the format that this build writes, and the newest that it reads.
pub const FORMAT_VERSION: u64 = 1;
/// Bytes in a line of a segment, the newline not counted. Enough for the record of the largest secret: every field's
/// name and hash.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Bytes that are written between two syncs: what a loss of power can tear is within that much of the end.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// Bytes in a segment before the next one begins, unless said otherwise.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// Bytes in a signed checkpoint, at most.
pub const NOTE_BYTES_MAX: usize = 4_096;
/// Bytes in the file that says how the log was closed: enough for some 4,000 segments. A longer one is neither written nor read.
pub const CLOSED_BYTES_MAX: usize = 16 << 20;

/// The file with the signed checkpoints.
pub(crate) const CHECKPOINTS_FILE: &str = "checkpoints";
/// The file that says how the log was closed.
pub(crate) const CLOSED_FILE: &str = "closed";
/// The file that a writer holds locked.
pub(crate) const LOCK_FILE: &str = "lock";
/// What a file is called until it has its first line.
pub(crate) const NEW_SUFFIX: &str = ".new";
const SEGMENTS_FORMAT: &str = "coffer-audit-log";
const CHECKPOINTS_FORMAT: &str = "coffer-audit-checkpoints";

/// The name of the segment that begins with this entry.
pub(crate) fn segment_name(first: u64) -> String {
    format!("log-{first:012}.jsonl")
}

/// The first entry of the segment of this name.
pub(crate) fn segment_first(name: &str) -> Option<u64> {
    let first = name.strip_prefix("log-")?.strip_suffix(".jsonl")?.parse().ok()?;
    (segment_name(first) == name).then_some(first)
}

/// The folder of an epoch.
pub(crate) fn epoch_dir(dir: &Path, epoch: u64) -> PathBuf {
    dir.join(format!("epoch-{epoch:06}"))
}

/// The epoch of the folder of this name.
pub(crate) fn epoch_of(name: &str) -> Option<u64> {
    let epoch: u64 = name.strip_prefix("epoch-")?.parse().ok()?;
    (epoch > 0 && format!("epoch-{epoch:06}") == name).then_some(epoch)
}

/// What the first line of every file says, whatever its version.
#[derive(Deserialize)]
pub(crate) struct AnyHeader {
    pub(crate) format: String,
    pub(crate) version: u64,
}

/// The first line of a segment.
#[derive(Serialize)]
struct SegmentHeader<'a> {
    format: &'a str,
    version: u64,
    origin: String,
    first: u64,
    root: String,
}

/// The first line of the file with the checkpoints.
#[derive(Serialize, Deserialize)]
struct CheckpointsHeader {
    format: String,
    version: u64,
    origin: String,
    key: String,
}

fn line(header: &impl Serialize) -> String {
    serde_json::to_string(header).expect("a header is text and numbers")
}

/// The first line of the segment that begins with entry `first`, where `root` is that of the tree before it.
pub(crate) fn segment_header(origin: &Origin, first: u64, root: &Hash) -> String {
    let (origin, root) = (origin.to_string(), root.to_string());
    line(&SegmentHeader { format: SEGMENTS_FORMAT, version: FORMAT_VERSION, origin, first, root })
}

/// The first line of the file with the checkpoints that `key` verifies.
pub(crate) fn checkpoints_header(origin: &Origin, key: &VerifierKey) -> String {
    let (origin, key) = (origin.to_string(), key.to_string());
    line(&CheckpointsHeader { format: CHECKPOINTS_FORMAT.into(), version: FORMAT_VERSION, origin, key })
}

/// Why a first line is not one.
pub(crate) enum HeaderError {
    /// It is of a version that this build does not read.
    Newer(u64),
    /// It is something else.
    Other,
}

fn header_version(line: &[u8], format: &str) -> Result<(), HeaderError> {
    let header: AnyHeader = serde_json::from_slice(line).map_err(|_| HeaderError::Other)?;
    match header.version {
        _ if header.format != format => Err(HeaderError::Other),
        0 => Err(HeaderError::Other),
        FORMAT_VERSION => Ok(()),
        newer => Err(HeaderError::Newer(newer)),
    }
}

/// Whether this build reads a segment with this first line.
pub(crate) fn check_segment_version(line: &[u8]) -> Result<(), HeaderError> {
    header_version(line, SEGMENTS_FORMAT)
}

/// Origin and key that the first line of the file with the checkpoints names.
pub(crate) fn read_checkpoints_header(line: &[u8]) -> Result<(Origin, VerifierKey), HeaderError> {
    header_version(line, CHECKPOINTS_FORMAT)?;
    let header: CheckpointsHeader = serde_json::from_slice(line).map_err(|_| HeaderError::Other)?;
    let origin: Origin = header.origin.parse().map_err(|_| HeaderError::Other)?;
    let key: VerifierKey = header.key.parse().map_err(|_| HeaderError::Other)?;
    if key.name() != header.origin || checkpoints_header(&origin, &key).as_bytes() != line {
        return Err(HeaderError::Other);
    }
    Ok((origin, key))
}

/// What every entry's line says, whatever else it does.
#[derive(Deserialize)]
pub(crate) struct LineHead {
    pub(crate) index: u64,
    pub(crate) time: crate::record::Time,
    pub(crate) id: coffer_core::id::RequestId,
}
