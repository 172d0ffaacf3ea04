//! Marks of what is stored, for whoever looks for it in an image.

use coffer_core::{
    limits::{STORED_RUNS_MAX, STORED_SECRETS_PAGE_MAX},
    path::Path,
    reason::Reason,
};
use coffer_crypto::mark::{Mark, MarkKey, runs};
use coffer_engines::kv::NamesPage;

use crate::{Engine, Failure, MountRecord, Unsealed, table::Row};

/// Names of a folder that are looked at together.
const NAMES_AT_ONCE: usize = 256;
/// What stands around what everybody may have, and images have: certificates and public keys.
const PUBLIC: [&str; 4] = ["CERTIFICATE", "TRUSTED CERTIFICATE", "PUBLIC KEY", "X509 CRL"];

/// A page of marks.
#[derive(Debug, Default)]
pub struct StoredMarks {
    /// The marks, in no order that means anything.
    pub marks: Vec<Mark>,
    /// The secrets that were looked at.
    pub secrets: usize,
    /// The last of them, where there are more.
    pub last: Option<Path>,
}

/// A folder that is gone through, behind a name.
struct Open {
    folder: Path,
    after: Option<String>,
}

impl Unsealed {
    /// Marks of the newest values of all kv mounts, as far as they look machine-made: those of the secrets behind `after`, in the order of
    /// their names, [`STORED_SECRETS_PAGE_MAX`] secrets at most, with [`STORED_RUNS_MAX`] marks each.
    ///
    /// # Errors
    /// Fails where the store does.
    pub async fn stored_marks(&self, key: &MarkKey, after: Option<&Path>) -> Result<StoredMarks, Failure> {
        let (mut page, mut open) = (StoredMarks::default(), self.folders_behind(after)?);
        while let Some(Open { folder, after }) = open.pop() {
            let NamesPage { names, more } = match self.list_secrets(&folder, after.as_deref(), NAMES_AT_ONCE).await {
                // A mount that went meanwhile.
                Err(failure) if failure.reason == Reason::NotFound => continue,
                names => names?,
            };
            let last = names.last().map(|name| name.name.clone());
            let mut below = None;
            for name in names {
                let path: Path = joined(&folder, &name.name)?;
                if name.secret {
                    if page.secrets == STORED_SECRETS_PAGE_MAX {
                        return Ok(page);
                    }
                    self.mark_secret(key, &path, &mut page.marks).await?;
                    page.secrets += 1;
                    page.last = Some(path.clone());
                }
                if name.folder {
                    below = Some((path, name.name));
                    break;
                }
            }
            match below {
                Some((path, name)) => {
                    open.push(Open { folder, after: Some(name) });
                    open.push(Open { folder: path, after: None });
                }
                None if more => open.push(Open { folder, after: last }),
                None => {}
            }
        }
        page.last = None;
        Ok(page)
    }

    /// What is to be gone through behind a secret, the nearest last.
    fn folders_behind(&self, after: Option<&Path>) -> Result<Vec<Open>, Failure> {
        let behind = after.map_or("", Path::mount);
        let is_behind =
            |(name, row): &(String, Row<MountRecord>)| row.value.engine == Engine::Kv.name() && name.as_str() > behind;
        let mounts = self.mounts.all().into_iter().filter(is_behind).rev();
        let mounts = mounts.map(|(name, _)| Ok(Open { folder: path(&name)?, after: None }));
        let mut open: Vec<Open> = mounts.collect::<Result<_, Failure>>()?;
        if let Some(after) = after {
            let mut folder = path(after.mount())?;
            for segment in after.below_mount() {
                let below = joined(&folder, segment)?;
                open.push(Open { folder, after: Some(segment.to_owned()) });
                folder = below;
            }
            // What is below the secret itself comes behind it.
            open.push(Open { folder, after: None });
        }
        Ok(open)
    }

    async fn mark_secret(&self, key: &MarkKey, path: &Path, marks: &mut Vec<Mark>) -> Result<(), Failure> {
        let mut left = STORED_RUNS_MAX;
        for value in self.newest_fields(path).await?.unwrap_or_default().values() {
            for text in private(value.expose()) {
                for run in runs(text).take(left) {
                    marks.extend(text.get(run).map(|run| key.mark(run)));
                    left -= 1;
                }
            }
        }
        Ok(())
    }
}

fn path(text: &str) -> Result<Path, Failure> {
    text.parse().map_err(|_| Failure::internal("a path that is stored is none"))
}

fn joined(folder: &Path, name: &str) -> Result<Path, Failure> {
    path(&format!("{folder}/{name}"))
}

/// A value without what is public in it: certificates, for one, which images have a bundle of.
fn private(value: &[u8]) -> Vec<&[u8]> {
    let Ok(text) = std::str::from_utf8(value) else { return vec![value] };
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some((begin, end)) = public(rest) {
        let (before, behind) = (rest.get(..begin).unwrap_or_default(), rest.get(end..).unwrap_or_default());
        parts.push(before.as_bytes());
        rest = behind;
    }
    parts.push(rest.as_bytes());
    parts
}

/// Where the first block of PEM that is public begins and ends.
fn public(text: &str) -> Option<(usize, usize)> {
    let blocks = PUBLIC.iter().filter_map(|label| {
        let begin = text.find(&format!("-----BEGIN {label}-----"))?;
        let end = format!("-----END {label}-----");
        let behind = text.get(begin..)?.find(&end).map_or(text.len(), |at| begin + at + end.len());
        Some((begin, behind))
    });
    blocks.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_public_in_a_value_is_left_out() {
        let parts = |text: &'static str| {
            let parts = private(text.as_bytes()).into_iter().map(|part| std::str::from_utf8(part).unwrap());
            parts.filter(|part| !part.is_empty()).collect::<Vec<_>>()
        };
        assert_eq!(parts("plain"), ["plain"]);
        assert_eq!(parts("-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----"), [""; 0]);
        let both = "-----BEGIN PRIVATE KEY-----\nK\n-----END PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----x\
                    -----BEGIN PUBLIC KEY-----\nB";
        assert_eq!(parts(both), ["-----BEGIN PRIVATE KEY-----\nK\n-----END PRIVATE KEY-----\n", "x"]);
    }
}
