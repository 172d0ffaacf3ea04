//! Checks logs offline: the files and, for trust, the verifier key are all that is needed.
//!
//! Plain blocking I/O; memory does not grow with the log. A server may go on writing meanwhile.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use coffer_crypto::sign::PublicKey;

use crate::{
    checkpoint::{Checkpoint, CheckpointError, Origin},
    fault::{Problem, VerifyError},
    format::{epoch_dir, epoch_of},
    merkle::Hash,
    note::VerifierKey,
    record::Time,
    scan::{Expected, Seen, Torn, Visit, scan},
};

/// What else than the files the log is compared with. The more is given, the more is shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trust<'a> {
    /// The key that signs the log's checkpoints, `NAME+HASH+BASE64`, from the server or from the store: of any epoch of
    /// the node. Without it, the log is only compared with itself.
    pub verifier_key: Option<&'a str>,
    /// A checkpoint from elsewhere, as a signed note: what was in the log then must be in it now.
    pub checkpoint: Option<&'a str>,
}

/// What holds but should be known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// No key was given.
    #[error("no verifier key was given: the log agrees with itself, but who signed it is not known")]
    KeyUnknown,
    /// There are entries behind the newest checkpoint.
    #[error("epoch {epoch}: entries behind the newest checkpoint are not signed yet: {entries}")]
    Unsigned {
        /// The epoch.
        epoch: u64,
        /// How many entries.
        entries: u64,
    },
    /// A file's end is torn.
    #[error("{}:{}: {} bytes at the end are incomplete: a loss of power tore them, or they are being written", .0.file.display(), .0.line, .0.bytes)]
    Torn(Torn),
    /// An epoch is not there.
    #[error("the log of epoch {0} is not in the folder")]
    EpochMissing(u64),
}

/// The log of one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Whose log.
    pub origin: Origin,
    /// How many entries.
    pub entries: u64,
    /// How many checkpoints.
    pub checkpoints: u64,
    /// The root of the tree of all entries.
    pub root: Hash,
    /// The newest checkpoint.
    pub last_checkpoint: Option<Checkpoint>,
    /// The earliest and the latest time of an entry.
    pub times: Option<(Time, Time)>,
}

/// A log that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many entries, in all epochs.
    pub entries: u64,
    /// How many checkpoints, in all epochs.
    pub checkpoints: u64,
    /// The earliest and the latest time of an entry.
    pub times: Option<(Time, Time)>,
    /// The root of the tree of the newest epoch.
    pub root: Hash,
    /// The epochs, in order: one at least.
    pub epochs: Vec<Epoch>,
    /// What holds but should be known.
    pub warnings: Vec<Warning>,
}

/// Checks every entry and checkpoint of the logs in a folder, with the verifier key where there is one.
///
/// # Errors
/// [`VerifyError`]: the first thing that is wrong, with file and line.
pub fn verify(dir: &Path, verifier_key: Option<&str>) -> Result<Report, VerifyError> {
    verify_with(dir, &Trust { verifier_key, checkpoint: None })
}

/// As [`verify`], with all that the log can be compared with.
///
/// # Errors
/// [`VerifyError`]: the first thing that is wrong, with file and line.
pub fn verify_with(dir: &Path, trust: &Trust<'_>) -> Result<Report, VerifyError> {
    let epochs = epochs(dir)?;
    let known = Known::parse(dir, trust)?;
    let mut warnings = Vec::new();
    if known.key.is_none() {
        warnings.push(Warning::KeyUnknown);
    }
    if let Some((checkpoint, _)) = &known.checkpoint
        && !epochs.contains(&checkpoint.origin.epoch())
    {
        return Err(Problem::EpochMissing(checkpoint.origin.epoch()).of(dir));
    }
    let mut checked: Vec<Epoch> = Vec::new();
    for epoch in &epochs {
        let before = checked.last().map_or(0, |epoch| epoch.origin.epoch());
        warnings.extend((before + 1..*epoch).take(1).map(Warning::EpochMissing));
        let origin = known.origin.as_ref().or_else(|| checked.first().map(|first| &first.origin));
        let origin = origin.map(|origin| origin.with_epoch(*epoch));
        checked.push(verify_epoch(&epoch_dir(dir, *epoch), *epoch, origin.as_ref(), &known, &mut warnings)?);
    }
    let root = checked.last().ok_or_else(|| Problem::NoLog.of(dir))?.root;
    let sum = |count: fn(&Epoch) -> u64| checked.iter().map(count).sum();
    let (entries, checkpoints) = (sum(|epoch| epoch.entries), sum(|epoch| epoch.checkpoints));
    let times = checked.iter().filter_map(|epoch| epoch.times).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    Ok(Report { entries, checkpoints, times, root, epochs: checked, warnings })
}

/// What the caller brought, parsed.
struct Known {
    key: Option<VerifierKey>,
    origin: Option<Origin>,
    checkpoint: Option<(Checkpoint, String)>,
}

impl Known {
    fn parse(dir: &Path, trust: &Trust<'_>) -> Result<Self, VerifyError> {
        let key = trust.verifier_key.map(str::parse::<VerifierKey>).transpose();
        let key = key.map_err(|error| Problem::KeyInvalid(error).of(dir))?;
        let origin = key.as_ref().map(|key| key.name().parse::<Origin>()).transpose();
        let origin = origin.map_err(|_| Problem::KeyForeign.of(dir))?;
        let text = trust.checkpoint.map(|note| {
            let text = note.split_once("\n\n").map_or("", |(text, _)| text);
            let checkpoint: Checkpoint = format!("{text}\n").parse()?;
            Ok::<_, CheckpointError>((checkpoint, note.to_owned()))
        });
        let checkpoint = text.transpose().map_err(|error| Problem::Checkpoint(error).of(dir))?;
        Ok(Self { key, origin, checkpoint })
    }

    fn public(&self) -> Option<&PublicKey> {
        self.key.as_ref().map(VerifierKey::public)
    }
}

fn epochs(dir: &Path) -> Result<Vec<u64>, VerifyError> {
    let unreadable = |error: io::Error| Problem::Read(error).of(dir);
    let mut epochs = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        epochs.extend(entry.map_err(unreadable)?.file_name().to_str().and_then(epoch_of));
    }
    epochs.sort_unstable();
    Ok(epochs)
}

fn verify_epoch(
    dir: &Path,
    epoch: u64,
    origin: Option<&Origin>,
    known: &Known,
    warnings: &mut Vec<Warning>,
) -> Result<Epoch, VerifyError> {
    let checkpoint = known.checkpoint.as_ref().filter(|(checkpoint, _)| checkpoint.origin.epoch() == epoch);
    let mut times = Times(None);
    let expected = Expected { origin, public: known.public(), known: checkpoint.map(|(checkpoint, _)| checkpoint) };
    let scanned = scan(dir, &expected, &mut times)?;
    let origin = scanned.notes.origin;
    if origin.epoch() != epoch {
        let (expected, found) = (Box::new(origin.with_epoch(epoch)), Box::new(origin));
        return Err(Problem::Origin { expected, found }.at(scanned.notes.path, 1));
    }
    if let Some((_, note)) = checkpoint {
        Checkpoint::open(note, &scanned.notes.key).map_err(|error| Problem::Known(error).of(dir))?;
    }
    warnings.extend(scanned.torn.into_iter().chain(scanned.notes.torn).map(Warning::Torn));
    let last_checkpoint = scanned.notes.last.map(|signed| signed.checkpoint);
    let entries = scanned.tree.size();
    let unsigned = entries - last_checkpoint.as_ref().map_or(0, |last| last.size);
    if unsigned > 0 {
        warnings.push(Warning::Unsigned { epoch, entries: unsigned });
    }
    let (checkpoints, root) = (scanned.notes.count, scanned.tree.root());
    Ok(Epoch { origin, entries, checkpoints, root, last_checkpoint, times: times.0 })
}

/// Keeps the earliest and the latest time.
struct Times(Option<(Time, Time)>);

impl Visit for Times {
    fn entry(&mut self, entry: &Seen<'_>) {
        let time = entry.head.time;
        self.0 = Some(self.0.map_or((time, time), |(first, last)| (first.min(time), last.max(time))));
    }
}

/// The folder of the newest epoch.
///
/// # Errors
/// [`VerifyError`] where there is none.
pub fn newest_epoch(dir: &Path) -> Result<(u64, PathBuf), VerifyError> {
    let newest = epochs(dir)?.last().copied().ok_or_else(|| Problem::NoLog.of(dir))?;
    Ok((newest, epoch_dir(dir, newest)))
}
