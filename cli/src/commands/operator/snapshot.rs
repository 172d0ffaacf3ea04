//! `coffer operator snapshot`: everything at one moment, in a file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, IsTerminal as _, Read, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use age::{Decryptor, Identity, x25519};
use clap::{Args, Subcommand};
use coffer_client::proto::{RestoreSnapshotRequest, RestoreStart, SaveSnapshotRequest, restore_snapshot_request::Piece};
use coffer_secret::SecretString;
use serde::{Deserialize, Serialize};

use self::file::{Frames, Whole, Written};
use crate::{
    app::{App, answer},
    exit::Exit,
    failure::{Failure, Result, plain},
    input::{CREDENTIAL_BYTES_MAX, Source},
    output::pairs,
};

mod file;

/// Bytes of content sent at once.
const PIECE_BYTES: usize = 256 << 10;
/// How an identity begins.
const IDENTITY_PREFIX: &str = "AGE-SECRET-KEY-1";

/// Save everything at one moment, look at a snapshot, restore one
///
/// A snapshot is encrypted to age recipients, and what is inside by the vault's own keys: to use it takes an identity and a
/// quorum of the shares of its moment. The audit log is not part of it.
#[derive(Subcommand)]
pub(crate) enum Snapshot {
    Save(Save),
    Inspect(Inspect),
    Restore(Restore),
}

impl Snapshot {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Save(command) => command.run(app).await,
            Self::Inspect(command) => command.run(app),
            Self::Restore(command) => command.run(app).await,
        }
    }
}

/// Save a snapshot while the vault goes on working
///
/// Needs the role admin. A file appears under its name when all of it has come; one that is there is not written over.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer operator snapshot save coffer.snapshot --recipient age1...
  coffer operator snapshot save - --recipient age1alice... --recipient age1bo... | ssh backup 'cat > coffer.snapshot'")]
pub(crate) struct Save {
    /// The file to write, or - for standard output
    file: String,
    /// An age public key; each of several can decrypt the snapshot alone
    #[arg(long = "recipient", value_name = "AGE1...", required = true)]
    recipients: Vec<String>,
}

#[derive(Serialize)]
struct SavedJson<'a> {
    file: &'a str,
    bytes: u64,
}

impl Save {
    async fn run(self, app: &App) -> Result<Exit> {
        if self.file == "-" {
            if io::stdout().is_terminal() {
                return Err(Failure::usage("a snapshot is not for a terminal").next("name a file, or pipe the output elsewhere"));
            }
            let (_, _) = self.stream(app, io::stdout(), "standard output").await?;
            return Ok(Exit::Done);
        }
        let path = PathBuf::from(&self.file);
        if path.exists() {
            return Err(Failure::usage(format!("{} is there already", path.display())).next("choose another name"));
        }
        let partial = PathBuf::from(format!("{}.partial", self.file));
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
        let created = created.map_err(|error| Failure::file("create", &partial, &error))?;
        let bytes = match self.stream(app, created, &self.file).await {
            Ok((file, bytes)) => {
                let done = file.sync_all().and_then(|()| fs::hard_link(&partial, &path));
                done.map_err(|error| Failure::file("write", &path, &error)).map(|()| bytes)
            }
            Err(failure) => Err(failure),
        };
        drop(fs::remove_file(&partial));
        let bytes = bytes?;
        app.out.result(&SavedJson { file: &self.file, bytes }, |_| {
            format!("Saved {bytes} bytes to {}.\n\nNext: coffer operator snapshot inspect {}", self.file, self.file)
        })?;
        Ok(Exit::Done)
    }

    async fn stream<W: Write>(&self, app: &App, out: W, name: &str) -> Result<(W, u64)> {
        let vault = app.vault()?;
        let attempt = vault.attempt("save a snapshot");
        let request = SaveSnapshotRequest { recipients: self.recipients.clone() };
        let mut stream = answer(&attempt, vault.client.snapshots().save_snapshot(request).await)?.into_inner();
        let mut written = Written::new(out);
        let unwritten = |error: io::Error| Failure::new(Exit::Failed, format!("cannot write {name}: {}", plain(&error)));
        while let Some(piece) = answer(&attempt, stream.message().await)? {
            written.add(&piece.data).map_err(unwritten)?;
            app.out.progress(&format!("{} KiB", written.bytes >> 10));
        }
        app.out.progress("");
        let bytes = written.bytes;
        let out = written.finish().map_err(|error| {
            Failure::new(Exit::Failed, format!("the snapshot did not come to its end: {}", plain(&error)))
                .next("the server's log and the audit log say why; try again")
        })?;
        Ok((out, bytes))
    }
}

/// Show what a snapshot says about itself, and whether it is whole
///
/// Needs no vault. With an identity the content is decrypted and counted, too. The exit status is 7 where it is not whole.
#[derive(Args)]
pub(crate) struct Inspect {
    /// The snapshot
    file: PathBuf,
    /// A file with an age identity that it was encrypted to: AGE-SECRET-KEY-1...
    #[arg(short, long, value_name = "FILE")]
    identity: Option<String>,
}

/// What a snapshot says about itself.
#[derive(Deserialize)]
struct About {
    format: u32,
    vault_id: String,
    taken_ms: i64,
    store_revision: u64,
    store: String,
    server_version: String,
    recipients: Vec<String>,
}

#[derive(Serialize)]
struct AboutJson<'a> {
    format: u32,
    vault_id: &'a str,
    taken: Option<String>,
    store_revision: u64,
    store: &'a str,
    server_version: &'a str,
    recipients: &'a [String],
    entries: u64,
    bytes: u64,
    whole: bool,
    decrypted: bool,
}

impl Inspect {
    fn run(self, app: &App) -> Result<Exit> {
        let identity = self.identity.as_deref().map(|file| identity(app, file)).transpose()?;
        let (line, whole) = check(&self.file, identity.as_ref())?;
        let about: About = serde_json::from_str(&line)
            .map_err(|_| unsound(&self.file, "what it says about itself cannot be read").next("is it of a newer version?"))?;
        let taken = jiff::Timestamp::from_millisecond(about.taken_ms).ok().map(|taken| taken.to_string());
        let json = AboutJson {
            format: about.format,
            vault_id: &about.vault_id,
            taken: taken.clone(),
            store_revision: about.store_revision,
            store: &about.store,
            server_version: &about.server_version,
            recipients: &about.recipients,
            entries: whole.entries,
            bytes: whole.bytes,
            whole: true,
            decrypted: identity.is_some(),
        };
        app.out.result(&json, |_| {
            pairs(&[
                ("Vault", about.vault_id.clone()),
                ("Taken", taken.clone().unwrap_or_default()),
                ("Store", format!("{}, revision {}", about.store, about.store_revision)),
                ("Server", about.server_version.clone()),
                ("Format", about.format.to_string()),
                ("Entries", whole.entries.to_string()),
                ("Size", format!("{} bytes", whole.bytes)),
                ("Recipients", about.recipients.join(" ")),
                (
                    "Checked",
                    if identity.is_some() { "whole, and decrypted to its end" } else { "whole; not decrypted" }.to_owned(),
                ),
            ])
        })?;
        Ok(Exit::Done)
    }
}

/// Restore a snapshot into a new server that holds no vault
///
/// Answered on the server's local socket, or with the set-up token of its configuration. The identity stays here: the
/// content is sent as the store holds it, encrypted by the vault's own keys. Afterwards the vault is unsealed with the
/// shares (or the key file) of the snapshot's moment. All sessions and the bootstrap credential of before end, and the audit
/// log begins a new epoch.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer --address unix:///run/coffer/coffer.sock operator snapshot restore coffer.snapshot --identity key.txt")]
pub(crate) struct Restore {
    /// The snapshot
    file: PathBuf,
    /// A file with an age identity that it was encrypted to: AGE-SECRET-KEY-1...; - for standard input
    #[arg(short, long, value_name = "FILE")]
    identity: String,
    /// A file with the server's set-up token
    #[arg(long, value_name = "FILE")]
    setup_token_file: Option<String>,
}

#[derive(Serialize)]
struct RestoredJson<'a> {
    vault_id: &'a str,
    entries: u64,
}

impl Restore {
    async fn run(self, app: &App) -> Result<Exit> {
        let identity = identity(app, &self.identity)?;
        let token = self.setup_token_file.as_deref().map(Source::of_file);
        let token = token.map(|source| app.input.line(&source, CREDENTIAL_BYTES_MAX)).transpose()?;
        // To its end before anything is sent.
        let (about, _) = check(&self.file, Some(&identity))?;
        let vault = app.vault_without_session()?;
        let attempt = vault.attempt("restore the snapshot");
        let start = RestoreStart { about, setup_token: token.map(SecretString::into_exposed).unwrap_or_default() };
        let (_, content) = decrypt(&self.file, &identity)?;
        let broken = Arc::new(Mutex::new(None));
        let pieces = Pieces { start: Some(start), content, broken: Arc::clone(&broken) };
        let restored = vault.client.snapshots().restore_snapshot(tokio_stream::iter(pieces)).await;
        if let Some(error) = broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(unsound(&self.file, &plain(&error)));
        }
        let restored = answer(&attempt, restored)?.into_inner();
        app.out.result(&RestoredJson { vault_id: &restored.vault_id, entries: restored.entries }, |_| {
            format!(
                "Vault {} is restored ({} entries).\n\n\
                 Next: coffer operator unseal, with the shares of the snapshot's moment; then log in: sessions of before have ended.",
                restored.vault_id, restored.entries
            )
        })?;
        Ok(Exit::Done)
    }
}

/// The messages of a snapshot that is sent. Ends early, and says why beside it, where the file cannot be read.
struct Pieces {
    start: Option<RestoreStart>,
    content: Box<dyn Read + Send>,
    broken: Arc<Mutex<Option<io::Error>>>,
}

impl Iterator for Pieces {
    type Item = RestoreSnapshotRequest;

    fn next(&mut self) -> Option<RestoreSnapshotRequest> {
        let piece = if let Some(start) = self.start.take() {
            Piece::Start(start)
        } else {
            let mut data = Vec::with_capacity(PIECE_BYTES);
            let limit = u64::try_from(PIECE_BYTES).unwrap_or(u64::MAX);
            if let Err(error) = self.content.by_ref().take(limit).read_to_end(&mut data) {
                *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return None;
            }
            if data.is_empty() {
                return None;
            }
            Piece::Data(data)
        };
        Some(RestoreSnapshotRequest { piece: Some(piece) })
    }
}

/// The identity in a file: its first line that is one.
fn identity(app: &App, file: &str) -> Result<x25519::Identity> {
    let source = Source::of_file(file);
    let text = app.input.text(&source, CREDENTIAL_BYTES_MAX)?;
    let line = text.expose().lines().map(str::trim).find(|line| line.starts_with(IDENTITY_PREFIX));
    line.and_then(|line| line.parse().ok()).ok_or_else(|| {
        Failure::usage(format!("there is no age identity in {}", source.name()))
            .next(format!("age-keygen makes one: a line that begins with {IDENTITY_PREFIX}"))
    })
}

/// Reads a file to its end, decrypting it where there is an identity.
fn check(path: &Path, identity: Option<&x25519::Identity>) -> Result<(String, Whole)> {
    let sound = |error: io::Error| unsound(path, &plain(&error));
    if let Some(identity) = identity {
        let (_, mut content) = decrypt(path, identity)?;
        io::copy(&mut content, &mut io::sink()).map_err(sound)?;
    }
    let (about, frames) = open(path)?;
    Ok((about, frames.finish().map_err(sound)?))
}

fn open(path: &Path) -> Result<(String, Frames<BufReader<File>>)> {
    let file = File::open(path).map_err(|error| Failure::file("read", path, &error))?;
    Frames::begin(BufReader::new(file)).map_err(|error| unsound(path, &plain(&error)))
}

/// What a file says about itself, and its content.
fn decrypt(path: &Path, identity: &x25519::Identity) -> Result<(String, Box<dyn Read + Send>)> {
    let (about, frames) = open(path)?;
    let decryptor =
        Decryptor::new_buffered(BufReader::new(frames)).map_err(|_| unsound(path, "its content is not encrypted with age"))?;
    let content = decryptor.decrypt(std::iter::once(identity as &dyn Identity)).map_err(|_| {
        Failure::new(Exit::Denied, format!("{} was not encrypted to this identity", path.display()))
            .next(format!("coffer operator snapshot inspect {} shows to whom", path.display()))
    })?;
    Ok((about, Box::new(content)))
}

fn unsound(path: &Path, what: &str) -> Box<Failure> {
    Failure::new(Exit::CheckFailed, format!("{} cannot be used: {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server's own golden file: both know the format.
    #[test]
    fn a_snapshot_of_format_1_is_whole_and_is_decrypted() {
        let golden = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../vault-server/barrier/tests/golden"));
        let file = golden.join("snapshot-v1.bin");
        let identity: x25519::Identity = fs::read_to_string(golden.join("snapshot-v1.key")).unwrap().trim().parse().unwrap();
        let (about, whole) = check(&file, Some(&identity)).unwrap();
        assert_eq!(about, r#"{"format":1}"#);
        assert_eq!(whole.bytes, fs::metadata(&file).unwrap().len());
        let other = check(&file, Some(&x25519::Identity::generate())).unwrap_err();
        assert_eq!(other.exit, Exit::Denied);
        let (_, mut content) = decrypt(&file, &identity).unwrap();
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).unwrap();
        // The end: 3, the number of entries, a public key, a signature.
        let end = bytes.len() - 105;
        assert_eq!((bytes[end], &bytes[end + 1..end + 9]), (3, whole.entries.to_be_bytes().as_slice()));
    }
}
