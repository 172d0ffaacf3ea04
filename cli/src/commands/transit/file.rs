//! Files that are encrypted here, with a key that the vault has wrapped.
//!
//! The output is an age file (<https://age-encryption.org/v1>) with one recipient of our own: a stanza `coffer-transit MOUNT KEY`
//! whose body is the file's key as the vault encrypted it. Of the file, only that key travels: 16 bytes.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use age::secrecy::ExposeSecret as _;
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use clap::Args;
use coffer_client::{
    Client,
    proto::{DecryptItem, DecryptRequest, EncryptItem, EncryptRequest},
};
use coffer_secret::SecretBytes;
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::runtime::Handle;

use super::{KeyName, only};
use crate::{
    advice::Attempt,
    app::{App, Vault, answer},
    exit::Exit,
    failure::{Failure, Result},
};

/// The stanza's name.
const TAG: &str = "coffer-transit";
/// What the file's key is bound to, so that nothing else that a key encrypted is taken for one.
const CONTEXT: &[u8] = b"coffer-transit file key v1";

/// Where the bytes come from and go to.
#[derive(Args)]
struct Files {
    /// The file; - for standard input
    #[arg(value_name = "IN")]
    from: PathBuf,
    /// The file to write: it is there once all of it is
    #[arg(value_name = "OUT")]
    to: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Encrypt a file of any size: a key of its own is made here, and wrapped by the vault
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer transit encrypt-file backup.tar backup.tar.age --key payments
  pg_dump shop | coffer transit encrypt-file - shop.sql.age --key payments")]
pub(crate) struct EncryptFile {
    #[command(flatten)]
    files: Files,
    /// The key that wraps the file's: NAME, or MOUNT/NAME
    #[arg(long)]
    key: KeyName,
}

/// Decrypt a file that encrypt-file made
#[derive(Args)]
pub(crate) struct DecryptFile {
    #[command(flatten)]
    files: Files,
    /// The key that wrapped the file's, where it is not the one that the file names: NAME, or MOUNT/NAME
    #[arg(long)]
    key: Option<KeyName>,
}

impl EncryptFile {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let wrapping = Wrapping::new(&app.vault()?, Some(self.key));
        self.files.run(app, "encrypt", move |reader, output| wrapping.encrypt(reader, output)).await
    }
}

impl DecryptFile {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let wrapping = Wrapping::new(&app.vault()?, self.key);
        self.files.run(app, "decrypt", move |reader, output| wrapping.decrypt(reader, output)).await
    }
}

impl Files {
    /// Has the input written to a file beside the output, which takes the output's name once it is whole.
    async fn run(
        self,
        app: &App,
        doing: &'static str,
        act: impl FnOnce(Box<dyn Read>, &mut NamedTempFile) -> Result<u64> + Send + 'static,
    ) -> Result<Exit> {
        let output = self.to.clone();
        if !self.force && output.exists() {
            return Err(Failure::usage(format!("{} is there already", output.display())).next("add --force to replace it"));
        }
        let work = move || -> Result<u64> {
            let reader: Box<dyn Read> = if self.from == Path::new("-") {
                Box::new(io::stdin().lock())
            } else {
                Box::new(File::open(&self.from).map_err(|error| Failure::file("read", &self.from, &error))?)
            };
            let unwritten = |error: &io::Error| Failure::file("write", &self.to, error);
            let folder = self.to.parent().filter(|folder| !folder.as_os_str().is_empty());
            let mut file = NamedTempFile::new_in(folder.unwrap_or_else(|| Path::new("."))).map_err(|error| unwritten(&error))?;
            let bytes = act(reader, &mut file)?;
            file.as_file().sync_all().map_err(|error| unwritten(&error))?;
            let kept = if self.force { file.persist(&self.to) } else { file.persist_noclobber(&self.to) };
            kept.map_err(|error| unwritten(&error.error))?;
            Ok(bytes)
        };
        let done = tokio::task::spawn_blocking(work).await;
        let bytes = done.map_err(|_| Failure::new(Exit::Failed, format!("cannot {doing} the file: the command failed")))??;
        app.out
            .result(&json!({ "output": output, "bytes": bytes }), |_| format!("{}: {bytes} bytes {doing}ed", output.display()))?;
        Ok(Exit::Done)
    }
}

/// Has the vault wrap and unwrap the keys of files. Used on a thread of its own, which may wait.
struct Wrapping {
    client: Client,
    runtime: Handle,
    principal: Option<String>,
    key: Option<KeyName>,
    /// What the vault said, where it refused.
    refused: Mutex<Option<Box<Failure>>>,
}

impl Wrapping {
    fn new(vault: &Vault, key: Option<KeyName>) -> Self {
        let client = vault.client.clone();
        Self { client, runtime: Handle::current(), principal: vault.principal.clone(), key, refused: Mutex::new(None) }
    }

    fn encrypt(self, mut reader: Box<dyn Read>, output: &mut NamedTempFile) -> Result<u64> {
        let failed = |error: &dyn std::error::Error| self.failure("encrypt", error);
        let recipients = std::iter::once(&self as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).map_err(|error| failed(&error))?;
        let mut stream = encryptor.wrap_output(io::BufWriter::new(output)).map_err(|error| failed(&error))?;
        let bytes = io::copy(&mut reader, &mut stream).map_err(|error| failed(&error))?;
        stream.finish().and_then(|mut output| output.flush()).map_err(|error| failed(&error))?;
        Ok(bytes)
    }

    fn decrypt(self, reader: Box<dyn Read>, output: &mut NamedTempFile) -> Result<u64> {
        let failed = |error: &dyn std::error::Error| self.failure("decrypt", error);
        let decryptor = age::Decryptor::new_buffered(io::BufReader::new(reader)).map_err(|error| failed(&error))?;
        let identities = std::iter::once(&self as &dyn age::Identity);
        let mut stream = decryptor.decrypt(identities).map_err(|error| failed(&error))?;
        let mut output = io::BufWriter::new(output);
        // Fails where the file is cut or changed: what came before is never given its name.
        let bytes = io::copy(&mut stream, &mut output).map_err(|error| failed(&error))?;
        output.flush().map_err(|error| failed(&error))?;
        Ok(bytes)
    }

    /// What the vault said, or else what age did.
    fn failure(&self, doing: &str, error: &dyn std::error::Error) -> Box<Failure> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        refused.unwrap_or_else(|| Failure::new(Exit::Failed, format!("cannot {doing} the file: {error}")))
    }

    fn attempt(&self, doing: &str, path: &str) -> Attempt {
        let attempt = Attempt::new(format!("{doing} with {path}")).at("use", path);
        match &self.principal {
            Some(principal) => attempt.by(principal),
            None => attempt,
        }
    }

    fn wrap(&self, key: &KeyName, file_key: &FileKey) -> Result<String> {
        let path = key.path("encrypt");
        let attempt = self.attempt("wrap a file's key", &path);
        let plaintext = file_key.expose_secret().to_vec();
        let item = EncryptItem { plaintext, associated_data: CONTEXT.to_vec(), version: 0 };
        let request = EncryptRequest { path, items: vec![item] };
        let results = answer(&attempt, self.runtime.block_on(self.client.transit().encrypt(request)))?.into_inner().results;
        Ok(only(&attempt, results, |result| result.failure.as_ref())?.ciphertext)
    }

    fn unwrap(&self, key: &KeyName, wrapped: &[u8]) -> Result<FileKey> {
        let path = key.path("decrypt");
        let attempt = self.attempt("unwrap the file's key", &path);
        let ciphertext = String::from_utf8_lossy(wrapped).into_owned();
        let item = DecryptItem { ciphertext, associated_data: CONTEXT.to_vec() };
        let request = DecryptRequest { path, items: vec![item] };
        let results = answer(&attempt, self.runtime.block_on(self.client.transit().decrypt(request)))?.into_inner().results;
        let plaintext = SecretBytes::from(only(&attempt, results, |result| result.failure.as_ref())?.plaintext);
        let bytes: [u8; FILE_KEY_BYTES] = plaintext
            .expose()
            .try_into()
            .map_err(|_| Failure::new(Exit::Failed, "cannot decrypt the file: what it has is not a file's key"))?;
        Ok(FileKey::new(Box::new(bytes)))
    }

    /// Keeps what the vault said, for the file's own failure says less.
    fn keep(&self, failure: Box<Failure>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }
}

impl age::Recipient for Wrapping {
    fn wrap_file_key(&self, file_key: &FileKey) -> std::result::Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let unnamed = || age::EncryptError::Io(io::Error::other("no key is named"));
        let key = self.key.as_ref().ok_or_else(unnamed)?;
        let body = self.wrap(key, file_key).map_err(|failure| {
            self.keep(failure);
            age::EncryptError::Io(io::Error::other("the vault refused"))
        })?;
        let args = vec![key.mount.clone(), key.name.clone()];
        Ok((vec![Stanza { tag: TAG.to_owned(), args, body: body.into_bytes() }], HashSet::new()))
    }
}

impl age::Identity for Wrapping {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<std::result::Result<FileKey, age::DecryptError>> {
        if stanza.tag != TAG {
            return None;
        }
        let [mount, name] = stanza.args.as_slice() else { return Some(Err(age::DecryptError::InvalidHeader)) };
        let named = KeyName { mount: mount.clone(), name: name.clone() };
        let key = self.key.as_ref().unwrap_or(&named);
        Some(self.unwrap(key, &stanza.body).map_err(|failure| {
            self.keep(failure);
            age::DecryptError::KeyDecryptionFailed
        }))
    }
}
