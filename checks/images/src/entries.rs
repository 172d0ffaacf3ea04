//! The entries of a tar archive, with every length that it claims bounded (POSIX pax, and GNU's long names).

use std::io::{self, Read};

use tar::{Archive, EntryType};

/// Bytes of a path, at most: Linux takes 4,096.
pub(crate) const PATH_BYTES_MAX: usize = 4096;
/// Bytes of the extended headers of an entry, at most.
pub(crate) const EXTENDED_BYTES_MAX: usize = 1 << 20;

/// What an archive has.
pub(crate) struct Entry<'a> {
    /// Where it is, without `./` before it and `/` behind it.
    pub(crate) path: String,
    /// Whether it would lead out of the image: unpackers differ about where it then is.
    pub(crate) leads_out: bool,
    pub(crate) kind: EntryType,
    /// The path that it is another name of, where it is a hard link.
    pub(crate) same_as: Option<String>,
    pub(crate) mode: u32,
    /// Whether it has capabilities of its own (the attribute `security.capability`).
    pub(crate) has_capabilities: bool,
    pub(crate) content: &'a mut dyn Read,
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("{0}")]
    Read(#[from] io::Error),
    /// It is made so that it does harm, or so that readers differ about what is in it.
    #[error("{0}")]
    Malformed(String),
}

/// What entries say before the one that they are about.
#[derive(Default)]
struct Before {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    capabilities: bool,
}

/// Hands out each entry.
pub(crate) fn each(
    reader: &mut dyn Read,
    mut entry: impl FnMut(Entry<'_>) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let malformed = |what: &str| ArchiveError::Malformed(what.to_owned());
    let mut before = Before::default();
    for raw in Archive::new(reader).entries()?.raw(true) {
        let mut raw = raw?;
        let (kind, size) = (raw.header().entry_type(), raw.header().entry_size()?);
        match kind {
            EntryType::GNULongName => before.name = Some(bounded(&mut raw, size)?),
            EntryType::GNULongLink => before.link = Some(bounded(&mut raw, size)?),
            EntryType::XHeader => {
                let records = bounded(&mut raw, size)?;
                for record in tar::PaxExtensions::new(&records) {
                    let record = record?;
                    match record.key_bytes() {
                        b"linkpath" => before.link = Some(record.value_bytes().to_vec()),
                        b"path" => before.name = Some(record.value_bytes().to_vec()),
                        // A size here would be another than the one by which the next header is found.
                        b"size" => return Err(malformed("a size in an extended header")),
                        b"SCHILY.xattr.security.capability" => before.capabilities = true,
                        key if key.starts_with(b"GNU.sparse.") => return Err(malformed("a sparse file")),
                        _ => {}
                    }
                }
            }
            EntryType::XGlobalHeader => drop(bounded(&mut raw, size)?),
            EntryType::GNUSparse => return Err(malformed("a sparse file")),
            _ => {
                let Before { name, link, capabilities } = std::mem::take(&mut before);
                let name = name.unwrap_or_else(|| raw.header().path_bytes().into_owned());
                let link =
                    link.or_else(|| Some(raw.header().link_name_bytes()?.into_owned())).filter(|_| kind == EntryType::Link);
                let same_as = link.map(|link| path(&link)).transpose()?.map(|(path, _)| path);
                let (path, leads_out) = path(&name)?;
                // Empty in what some builders write.
                let mode = raw.header().mode().unwrap_or_default();
                entry(Entry { path, leads_out, kind, same_as, mode, has_capabilities: capabilities, content: &mut raw })?;
            }
        }
    }
    Ok(())
}

fn bounded(reader: &mut impl Read, size: u64) -> Result<Vec<u8>, ArchiveError> {
    if size > EXTENDED_BYTES_MAX as u64 {
        return Err(ArchiveError::Malformed(format!("an extended header of {size} bytes: {EXTENDED_BYTES_MAX} is the limit")));
    }
    let mut bytes = Vec::new();
    reader.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The path as one spelling, and whether it would lead out of the root.
fn path(name: &[u8]) -> Result<(String, bool), ArchiveError> {
    if name.len() > PATH_BYTES_MAX {
        return Err(ArchiveError::Malformed(format!("a path of {} bytes: {PATH_BYTES_MAX} is the limit", name.len())));
    }
    let name = String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
    let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    Ok((parts.join("/"), name.split('/').any(|part| part == "..")))
}
