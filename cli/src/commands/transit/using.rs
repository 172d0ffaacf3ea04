//! What is done with keys.

use clap::Args;
use coffer_client::proto::{
    CreateDataKeyRequest, CreateWrappedDataKeyRequest, DecryptItem, DecryptRequest, EncryptItem, EncryptRequest,
    GetRandomRequest, HmacItem, HmacRequest, RewrapItem, RewrapRequest, SignDataItem, SignDataRequest, VerifyDataItem,
    VerifyDataRequest,
};
use coffer_secret::SecretBytes;
use serde_json::json;

use super::{BYTES_MAX, KeyName, Text, associated, only};
use crate::{
    app::{App, answer},
    exit::Exit,
    failure::{Failure, Result},
    input::Source,
    output::pairs,
};

/// What goes with a ciphertext.
#[derive(Args)]
struct Associated {
    /// Associated data: not encrypted, and must be the same again to decrypt: @FILE, or - for standard input
    #[arg(long = "associated-data", value_name = "@FILE", value_parser = Source::marked)]
    associated: Option<Source>,
}

/// Which version makes something.
#[derive(Args)]
struct Version {
    /// The version to use [default: the newest]
    #[arg(long = "key-version", value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    version: u32,
}

/// Encrypt a value with a key of the type aes256-gcm
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer transit encrypt payments @card.json
  printf %s 4111111111111111 | coffer transit encrypt payments -")]
pub(crate) struct Encrypt {
    /// The key: NAME, or MOUNT/NAME
    key: KeyName,
    /// What is encrypted: @FILE, or - for standard input; 1 MiB at most
    #[arg(value_name = "@FILE", value_parser = Source::marked)]
    plaintext: Source,
    #[command(flatten)]
    associated: Associated,
    #[command(flatten)]
    version: Version,
}

impl Encrypt {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let path = self.key.path("encrypt");
        let vault = app.vault()?;
        let attempt = vault.attempt(format!("encrypt with {path}")).at("use", &path);
        let item = EncryptItem {
            plaintext: app.input.bytes(&self.plaintext, BYTES_MAX)?.into_exposed(),
            associated_data: associated(app, self.associated.associated.as_ref())?,
            version: self.version.version,
        };
        let answered = vault.client.transit().encrypt(EncryptRequest { path, items: vec![item] }).await;
        let done = only(&attempt, answer(&attempt, answered)?.into_inner().results, |done| done.failure.as_ref())?;
        app.out.result(&json!({ "ciphertext": done.ciphertext, "version": done.version }), |_| done.ciphertext.clone())?;
        Ok(Exit::Done)
    }
}

/// Decrypt a ciphertext, and print what was encrypted as it is
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer transit decrypt payments coffer:v1:...
  coffer transit decrypt payments @card.coffer > card.json")]
pub(crate) struct Decrypt {
    /// The key: NAME, or MOUNT/NAME
    key: KeyName,
    /// The ciphertext: itself, @FILE, or - for standard input
    ciphertext: Text,
    #[command(flatten)]
    associated: Associated,
}

impl Decrypt {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let path = self.key.path("decrypt");
        let vault = app.vault()?;
        let attempt = vault.attempt(format!("decrypt with {path}")).at("use", &path);
        let item = DecryptItem {
            ciphertext: self.ciphertext.read(app)?,
            associated_data: associated(app, self.associated.associated.as_ref())?,
        };
        let answered = vault.client.transit().decrypt(DecryptRequest { path, items: vec![item] }).await;
        let done = only(&attempt, answer(&attempt, answered)?.into_inner().results, |done| done.failure.as_ref())?;
        app.out.raw(SecretBytes::from(done.plaintext).expose())?;
        Ok(Exit::Done)
    }
}

/// Encrypt anew with the newest version what an older one encrypted, without seeing it
#[derive(Args)]
pub(crate) struct Rewrap {
    /// The key: NAME, or MOUNT/NAME
    key: KeyName,
    /// The ciphertext: itself, @FILE, or - for standard input
    ciphertext: Text,
    #[command(flatten)]
    associated: Associated,
    #[command(flatten)]
    version: Version,
}

impl Rewrap {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let path = self.key.path("rewrap");
        let vault = app.vault()?;
        let attempt = vault.attempt(format!("encrypt anew with {path}")).at("use", &path);
        let item = RewrapItem {
            ciphertext: self.ciphertext.read(app)?,
            associated_data: associated(app, self.associated.associated.as_ref())?,
            version: self.version.version,
        };
        let answered = vault.client.transit().rewrap(RewrapRequest { path, items: vec![item] }).await;
        let done = only(&attempt, answer(&attempt, answered)?.into_inner().results, |done| done.failure.as_ref())?;
        app.out.result(&json!({ "ciphertext": done.ciphertext, "version": done.version }), |_| done.ciphertext.clone())?;
        Ok(Exit::Done)
    }
}

/// Sign a message with a key of the type ed25519, ecdsa-p256 or ecdsa-p384
#[derive(Args)]
pub(crate) struct Sign {
    /// The key: NAME, or MOUNT/NAME
    key: KeyName,
    /// The message itself, not its hash: @FILE, or - for standard input; 1 MiB at most
    #[arg(value_name = "@FILE", value_parser = Source::marked)]
    message: Source,
    #[command(flatten)]
    version: Version,
}

impl Sign {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let path = self.key.path("sign");
        let vault = app.vault()?;
        let attempt = vault.attempt(format!("sign with {path}")).at("use", &path);
        let message = app.input.bytes(&self.message, BYTES_MAX)?.into_exposed();
        let items = vec![SignDataItem { message, version: self.version.version }];
        let answered = vault.client.transit().sign_data(SignDataRequest { path, items }).await;
        let done = only(&attempt, answer(&attempt, answered)?.into_inner().results, |done| done.failure.as_ref())?;
        app.out.result(&json!({ "signature": done.signature, "version": done.version }), |_| done.signature.clone())?;
        Ok(Exit::Done)
    }
}

/// Check a signature, or an HMAC: ends with 1 where it is not the key's over the message
#[derive(Args)]
pub(crate) struct Verify {
    /// The key: NAME, or MOUNT/NAME
    key: KeyName,
    /// The message: @FILE, or - for standard input
    #[arg(value_name = "@FILE", value_parser = Source::marked)]
    message: Source,
    /// The signature, or HMAC: itself, @FILE, or - for standard input
    #[arg(long)]
    signature: Text,
}

impl Verify {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let path = self.key.path("verify");
        let vault = app.vault()?;
        let attempt = vault.attempt(format!("verify with {path}")).at("use", &path);
        let message = app.input.bytes(&self.message, BYTES_MAX)?.into_exposed();
        let items = vec![VerifyDataItem { message, signature: self.signature.read(app)? }];
        let answered = vault.client.transit().verify_data(VerifyDataRequest { path, items }).await;
        let done = only(&attempt, answer(&attempt, answered)?.into_inner().results, |done| done.failure.as_ref())?;
        if !done.valid {
            return Err(Failure::new(Exit::Failed, "the signature is not of this key over this message"));
        }
        app.out.result(&json!({ "valid": true, "version": done.version }), |_| format!("valid, by version {}", done.version))?;
        Ok(Exit::Done)
    }
}

/// Authenticate a message with a key of the type hmac-sha256
#[derive(Args)]
pub(crate) struct Hmac {
    /// The key: NAME, or MOUNT/NAME
    key: KeyName,
    /// The message: @FILE, or - for standard input; 1 MiB at most
    #[arg(value_name = "@FILE", value_parser = Source::marked)]
    message: Source,
    #[command(flatten)]
    version: Version,
}

impl Hmac {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let path = self.key.path("hmac");
        let vault = app.vault()?;
        let attempt = vault.attempt(format!("authenticate with {path}")).at("use", &path);
        let message = app.input.bytes(&self.message, BYTES_MAX)?.into_exposed();
        let items = vec![HmacItem { message, version: self.version.version }];
        let answered = vault.client.transit().hmac(HmacRequest { path, items }).await;
        let done = only(&attempt, answer(&attempt, answered)?.into_inner().results, |done| done.failure.as_ref())?;
        app.out.result(&json!({ "hmac": done.hmac, "version": done.version }), |_| done.hmac.clone())?;
        Ok(Exit::Done)
    }
}

/// Have a key made to encrypt with outside of the vault: encrypted, to be kept beside what it encrypts
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer transit datakey payments                     to be decrypted when it is needed: coffer transit decrypt
  coffer transit datakey payments --plaintext         shown as well, which needs the right to read")]
pub(crate) struct Datakey {
    /// The key that encrypts it: NAME, or MOUNT/NAME
    key: KeyName,
    /// Bytes in it: 16 to 64
    #[arg(long, value_name = "NUMBER", default_value_t = 32)]
    bytes: u32,
    /// Show the key itself as well, in hexadecimal
    #[arg(long)]
    plaintext: bool,
}

impl Datakey {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let path = self.key.path("datakey");
        let vault = app.vault()?;
        if !self.plaintext {
            let attempt = vault.attempt(format!("have a key made at {path}")).at("use", &path);
            let request = CreateWrappedDataKeyRequest { path, key_bytes: self.bytes, associated_data: Vec::new() };
            let made = answer(&attempt, vault.client.transit().create_wrapped_data_key(request).await)?.into_inner();
            app.out.result(&json!({ "ciphertext": made.ciphertext, "version": made.version }), |_| made.ciphertext.clone())?;
            return Ok(Exit::Done);
        }
        let attempt = vault.attempt(format!("have a key made at {path}")).at("read", &path);
        let request = CreateDataKeyRequest { path, key_bytes: self.bytes, associated_data: Vec::new() };
        let made = answer(&attempt, vault.client.transit().create_data_key(request).await)?.into_inner();
        let plaintext = hex(&SecretBytes::from(made.plaintext));
        let json = json!({ "plaintext": plaintext, "ciphertext": made.ciphertext, "version": made.version });
        app.out.result(&json, |_| pairs(&[("Plaintext", plaintext.clone()), ("Ciphertext", made.ciphertext.clone())]))?;
        Ok(Exit::Done)
    }
}

/// Print random bytes of the vault's, in hexadecimal
#[derive(Args)]
pub(crate) struct Random {
    /// How many: 1 to 65,536
    #[arg(long, value_name = "NUMBER", default_value_t = 32)]
    bytes: u32,
    /// The mount
    #[arg(long, value_name = "NAME", default_value = "transit", add = crate::complete::mounts())]
    mount: String,
}

impl Random {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let path = format!("{}/random", self.mount);
        let vault = app.vault()?;
        let attempt = vault.attempt("have random bytes").at("use", &path);
        let request = GetRandomRequest { path, random_bytes: self.bytes };
        let random = answer(&attempt, vault.client.transit().get_random(request).await)?.into_inner().random;
        let text = hex(&SecretBytes::from(random));
        app.out.result(&json!({ "random": text }), |_| text.clone())?;
        Ok(Exit::Done)
    }
}

fn hex(bytes: &SecretBytes) -> String {
    bytes.expose().iter().map(|byte| format!("{byte:02x}")).collect()
}
