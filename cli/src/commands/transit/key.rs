//! `coffer transit key`.

use clap::{Args, Subcommand};
use coffer_client::proto::{
    CreateTransitKeyRequest, DeleteTransitKeyRequest, GetTransitKeyRequest, GetTransitKeyResponse, GetWrappingKeyRequest,
    ImportTransitKeyRequest, ListTransitKeysRequest, RotateTransitKeyRequest, TrimTransitKeyRequest, UpdateTransitKeyRequest,
};
use serde_json::json;

use super::KeyName;
use crate::{
    app::{App, Vault, answer},
    commands::{confirm, show_names},
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::{Failure, Result},
    input::{CREDENTIAL_BYTES_MAX, Source},
    output::{Table, pairs, rfc3339, since},
};

/// Manage keys
#[derive(Subcommand)]
pub(crate) enum Key {
    Create(Create),
    Import(Import),
    Get(Get),
    #[command(visible_alias = "ls")]
    List(List),
    Rotate(Rotate),
    Update(Update),
    Trim(Trim),
    #[command(visible_alias = "rm")]
    Delete(Delete),
}

impl Key {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Create(command) => command.run(app).await,
            Self::Import(command) => command.run(app).await,
            Self::Get(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Rotate(command) => command.run(app).await,
            Self::Update(command) => command.run(app).await,
            Self::Trim(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
        }
    }
}

/// What a new key is to be.
#[derive(Args)]
struct New {
    /// The type: aes256-gcm encrypts; ed25519, ecdsa-p256 and ecdsa-p384 sign; hmac-sha256 authenticates
    #[arg(long = "type", value_name = "TYPE", default_value = "aes256-gcm")]
    kind: String,
    /// Let it be deleted, and with it all that it encrypted
    #[arg(long)]
    deletable: bool,
}

/// Make a key
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer transit key create payments
  coffer transit key create releases --type ed25519")]
pub(crate) struct Create {
    /// The key: NAME, or MOUNT/NAME
    key: KeyName,
    #[command(flatten)]
    new: New,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Create {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.key.path("keys");
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("make the key {path}"), "TransitService/CreateTransitKey");
            planned.say("path", &path);
            planned.say("type", &self.new.kind);
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("make the key {path}")).at("write", &path);
        let request =
            CreateTransitKeyRequest { path: path.clone(), r#type: self.new.kind.clone(), deletion_allowed: self.new.deletable };
        answer(&attempt, vault.client.transit().create_transit_key(request).await)?;
        app.out.result(&json!({ "path": path }), |_| format!("key {path} made ({})", self.new.kind))?;
        Ok(Exit::Done)
    }
}

/// Bring in a key that was made elsewhere
///
/// It is encrypted on this machine for the mount's wrapping key, and opened by the vault alone.
#[derive(Args)]
#[command(after_help = "\
Examples:
  openssl rand 32 > key; coffer transit key import old --material @key
  openssl genpkey -algorithm ed25519 -outform DER | coffer transit key import signer --type ed25519 --material -")]
pub(crate) struct Import {
    /// The key: NAME, or MOUNT/NAME
    key: KeyName,
    #[command(flatten)]
    new: New,
    /// The key itself: 32 bytes for aes256-gcm, 32 to 128 for hmac-sha256, PKCS#8 in DER for the others: @FILE, or -
    #[arg(long, value_name = "@FILE", value_parser = Source::marked)]
    material: Source,
    /// Add it as the newest version of the key that is there
    #[arg(long, conflicts_with = "deletable")]
    as_version: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Import {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.key.path("keys");
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("bring in the key {path}"), "TransitService/ImportTransitKey");
            planned.say("path", &path);
            planned.say("type", &self.new.kind);
            return planned.show(app);
        }
        let keys = format!("{}/keys", self.key.mount);
        let attempt = vault.attempt("ask for the wrapping key").at("list", &keys);
        let wrapping = vault.client.transit().get_wrapping_key(GetWrappingKeyRequest { path: keys }).await;
        let recipient = answer(&attempt, wrapping)?.into_inner().recipient;
        let recipient: age::x25519::Recipient =
            recipient.parse().map_err(|_| Failure::new(Exit::Failed, "the vault's wrapping key is not an age recipient"))?;
        let material = app.input.bytes(&self.material, CREDENTIAL_BYTES_MAX)?;
        let wrapped = age::encrypt(&recipient, material.expose())
            .map_err(|_| Failure::new(Exit::Failed, "the key cannot be encrypted for the vault"))?;
        let attempt = vault.attempt(format!("bring in the key {path}")).at("write", &path);
        let request = ImportTransitKeyRequest {
            path: path.clone(),
            r#type: self.new.kind,
            deletion_allowed: self.new.deletable,
            wrapped,
            as_version: self.as_version,
        };
        let version = answer(&attempt, vault.client.transit().import_transit_key(request).await)?.into_inner().version;
        app.out.result(&json!({ "path": path, "version": version }), |_| {
            format!("key {path}: version {version} brought in; whoever has it elsewhere still has it")
        })?;
        Ok(Exit::Done)
    }
}

async fn get(vault: &Vault, path: &str) -> Result<GetTransitKeyResponse> {
    let attempt = vault.attempt(format!("show the key {path}")).at("list", path);
    let request = GetTransitKeyRequest { path: path.to_owned() };
    Ok(answer(&attempt, vault.client.transit().get_transit_key(request).await)?.into_inner())
}

/// Show a key: its versions and public keys, and nothing that is secret
#[derive(Args)]
pub(crate) struct Get {
    /// The key: NAME, or MOUNT/NAME
    key: KeyName,
    /// Print the newest version's public key alone (PEM)
    #[arg(long)]
    public_key: bool,
}

impl Get {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.key.path("keys");
        let found = get(&app.vault()?, &path).await?;
        if self.public_key {
            let pem = found.versions.last().map(|version| version.public_key_pem.as_str()).unwrap_or_default();
            if pem.is_empty() {
                return Err(Failure::usage(format!("a key of the type {} has no public key", found.r#type)));
            }
            app.out.raw(pem.as_bytes())?;
            return Ok(Exit::Done);
        }
        let versions = found.versions.iter().map(|version| {
            json!({
                "version": version.version,
                "created": rfc3339(version.created.as_ref()),
                "imported": version.imported,
                "public_key": version.public_key_pem,
            })
        });
        let json = json!({
            "path": path,
            "type": found.r#type,
            "min_decrypt_version": found.min_decrypt_version,
            "min_encrypt_version": found.min_encrypt_version,
            "deletion_allowed": found.deletion_allowed,
            "created": rfc3339(found.created.as_ref()),
            "versions": versions.collect::<Vec<_>>(),
        });
        app.out.result(&json, |view| {
            let encrypts = match found.min_encrypt_version {
                0 => "the newest version".to_owned(),
                lowest => format!("versions from {lowest}"),
            };
            let head = pairs(&[
                ("Path", path.clone()),
                ("Type", found.r#type.clone()),
                ("Makes", encrypts),
                ("Opens", format!("versions from {}", found.min_decrypt_version)),
                ("Deletable", if found.deletion_allowed { "yes" } else { "no" }.to_owned()),
            ]);
            let mut table = Table::new(&["VERSION", "AGE", "MADE"]);
            for version in &found.versions {
                let made = if version.imported { "elsewhere" } else { "here" };
                table.row([version.version.to_string(), since(version.created.as_ref(), view), made.to_owned()]);
            }
            format!("{head}\n{}", table.render(view, "No versions."))
        })?;
        Ok(Exit::Done)
    }
}

/// List keys
#[derive(Args)]
pub(crate) struct List {
    /// The mount
    #[arg(long, value_name = "NAME", default_value = "transit", add = crate::complete::mounts())]
    mount: String,
}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = format!("{}/keys", self.mount);
        let vault = app.vault()?;
        let attempt = vault.attempt("list keys").at("list", &path);
        let names = answer(&attempt, vault.client.transit().list_transit_keys(ListTransitKeysRequest { path }).await)?;
        let names = names.into_inner().names;
        show_names(app, &names, "No keys.")?;
        Ok(Exit::Done)
    }
}

/// Add a version to a key; what older ones made can still be decrypted and verified
#[derive(Args)]
pub(crate) struct Rotate {
    /// The key: NAME, or MOUNT/NAME
    key: KeyName,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Rotate {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.key.path("keys");
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let newest = get(&vault, &path).await?.versions.last().map_or(0, |version| version.version);
            let mut planned = Planned::new(format!("add a version to {path}"), "TransitService/RotateTransitKey");
            planned.say("path", &path);
            planned.checked(format!("the newest version is {newest}"));
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("rotate {path}")).at("write", &path);
        let request = RotateTransitKeyRequest { path: path.clone(), idempotency_key: String::new() };
        let version = answer(&attempt, vault.client.transit().rotate_transit_key(request).await)?.into_inner().version;
        app.out.result(&json!({ "path": path, "version": version }), |_| format!("key {path}: version {version} made"))?;
        Ok(Exit::Done)
    }
}

/// Change which versions may be used, and whether a key may be deleted
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer transit key update payments --min-decrypt-version 3     what versions 1 and 2 encrypted does not open any more
  coffer transit key update payments --deletable true")]
pub(crate) struct Update {
    /// The key: NAME, or MOUNT/NAME
    key: KeyName,
    /// The lowest version that decrypts and verifies
    #[arg(long, value_name = "NUMBER")]
    min_decrypt_version: Option<u32>,
    /// The lowest version that encrypts and signs; 0 for the newest alone
    #[arg(long, value_name = "NUMBER")]
    min_encrypt_version: Option<u32>,
    /// Whether it may be deleted
    #[arg(long, value_name = "true|false")]
    deletable: Option<bool>,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Update {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.key.path("keys");
        let vault = app.vault()?;
        if self.dry_run.asked() {
            get(&vault, &path).await?;
            let mut planned = Planned::new(format!("change {path}"), "TransitService/UpdateTransitKey");
            planned.say("path", &path);
            planned.say_some("min_decrypt_version", self.min_decrypt_version);
            planned.say_some("min_encrypt_version", self.min_encrypt_version);
            planned.say_some("deletion_allowed", self.deletable);
            planned.checked("it is there");
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("change {path}")).at("write", &path);
        let request = UpdateTransitKeyRequest {
            path: path.clone(),
            min_decrypt_version: self.min_decrypt_version,
            min_encrypt_version: self.min_encrypt_version,
            deletion_allowed: self.deletable,
        };
        answer(&attempt, vault.client.transit().update_transit_key(request).await)?;
        app.out.result(&json!({ "path": path }), |_| format!("key {path} changed"))?;
        Ok(Exit::Done)
    }
}

/// Erase the versions below the minimum for decryption, for good
#[derive(Args)]
pub(crate) struct Trim {
    /// The key: NAME, or MOUNT/NAME
    key: KeyName,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Trim {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.key.path("keys");
        let vault = app.vault()?;
        let lowest = get(&vault, &path).await?.min_decrypt_version;
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("erase versions of {path} below {lowest}"), "TransitService/TrimTransitKey");
            planned.say("path", &path);
            planned.checked("it is there");
            return planned.show(app);
        }
        confirm(app, self.yes, &format!("Erase the versions of {path} below {lowest}, for good? What they encrypted is lost."))?;
        let attempt = vault.attempt(format!("trim {path}")).at("delete", &path);
        let request = TrimTransitKeyRequest { path: path.clone() };
        let erased = answer(&attempt, vault.client.transit().trim_transit_key(request).await)?.into_inner().erased;
        app.out.result(&json!({ "path": path, "erased": erased }), |_| format!("key {path}: {erased} versions erased"))?;
        Ok(Exit::Done)
    }
}

/// Delete a key that allows it, and with it all that it encrypted
#[derive(Args)]
pub(crate) struct Delete {
    /// The key: NAME, or MOUNT/NAME
    key: KeyName,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Delete {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.key.path("keys");
        let vault = app.vault()?;
        if self.dry_run.asked() {
            get(&vault, &path).await?;
            let mut planned = Planned::new(format!("delete the key {path}"), "TransitService/DeleteTransitKey");
            planned.say("path", &path);
            planned.checked("it is there");
            return planned.show(app);
        }
        confirm(app, self.yes, &format!("Delete the key {path}, and lose all that it encrypted, for good?"))?;
        let attempt = vault.attempt(format!("delete the key {path}")).at("delete", &path);
        answer(&attempt, vault.client.transit().delete_transit_key(DeleteTransitKeyRequest { path: path.clone() }).await)?;
        app.out.result(&json!({ "deleted": path }), |_| format!("key {path} deleted"))?;
        Ok(Exit::Done)
    }
}
