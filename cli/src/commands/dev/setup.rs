//! Making a new vault ready: keys, people, a cluster, secrets to begin with.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coffer_client::{
    Client, Identity, Options, Session,
    proto::{
        ClusterSettings, CreateClusterRequest, CreateGrantRequest, CreateOperatorRequest, InitRequest, KeySource, PodCheck,
        PutSecretRequest, UnsealRequest, key_source::Source as Keys,
    },
};
use coffer_secret::{SecretBytes, SecretString};
use rustix::fs::Mode;
use serde_json::value::RawValue;

use super::{CLUSTER, issuer, issuer::Issuer, state::ROLES};
use crate::{
    advice::Attempt,
    app::{App, answer, new_identity},
    document::{self, Form},
    failure::{Failure, Result},
    input::Source,
    memory::MemoryFolder,
    random::random,
};

/// Bytes of a file of secrets to begin with, at most.
const SEED_BYTES_MAX: usize = 16 << 20;
/// Secrets in such a file, at most.
const SEED_SECRETS_MAX: usize = 10_000;
/// What the developer may do.
const ACTIONS: [&str; 6] = ["delete", "destroy", "list", "read", "use", "write"];
/// Where.
const PATHS: [&str; 2] = ["kv", "kv/**"];
/// The developer's name.
const DEVELOPER: &str = "developer";

/// Somebody who is logged in.
pub(super) struct Person {
    /// The role; empty for the developer.
    pub(super) role: &'static str,
    pub(super) identity: Identity,
    pub(super) client: Client,
    pub(super) session: Session,
}

/// Secrets to begin with: paths, and their fields.
pub(super) type Seed = Vec<(String, Vec<(String, SecretBytes)>)>;

/// Reads the secrets of a file.
///
/// # Errors
/// Says what is wrong without repeating a value.
pub(super) fn seed(app: &App, file: &Path) -> Result<Seed> {
    let text = app.input.text(&Source::File(file.to_owned()), SEED_BYTES_MAX)?;
    let shown = file.display();
    let paths: BTreeMap<String, &RawValue> = serde_json::from_str(text.expose()).map_err(|error| {
        Failure::usage(format!("{shown} is not a JSON object of paths (line {}, column {})", error.line(), error.column()))
            .next(r#"write {"kv/app/db": {"user": "app", "password": "..."}}"#)
    })?;
    if paths.len() > SEED_SECRETS_MAX {
        return Err(Failure::usage(format!("{shown} has {} secrets; at most {SEED_SECRETS_MAX}", paths.len())));
    }
    let one = |(path, raw): (String, &RawValue)| {
        let fields = document::read(&SecretString::copied_from(raw.get()), Form::Json);
        Ok((path.clone(), fields.map_err(|wrong| Failure::usage(format!("{path} in {shown}: {wrong}")))?))
    };
    paths.into_iter().map(one).collect()
}

/// Does it all. Gives the people, logged in.
pub(super) async fn all(
    app: &App,
    folder: &MemoryFolder,
    address: &str,
    ca: &Path,
    issuer: &Issuer,
    seed: Option<Seed>,
) -> Result<Vec<Person>> {
    let bootstrap = open(folder).await?;
    let first = client(app, address, ca, new_identity()?)?;
    answer(&Attempt::new("log in to the new vault"), first.login_bootstrap(&bootstrap).await)?;
    std::fs::create_dir(folder.path().join("passwords"))
        .map_err(|error| Failure::file("make a folder in", folder.path(), &error))?;
    let mut people = Vec::with_capacity(ROLES.len());
    for role in ROLES {
        let name = if role.is_empty() { DEVELOPER } else { role };
        let password = SecretString::from(URL_SAFE_NO_PAD.encode(random::<24>()?));
        folder.write(&format!("passwords/{name}"), password.expose().as_bytes(), Mode::RUSR)?;
        let attempt = Attempt::new(format!("create the user {name}"));
        let request = CreateOperatorRequest {
            name: name.to_owned(),
            roles: if role.is_empty() { vec![] } else { vec![role.to_owned()] },
            password: password.expose().to_owned(),
            ..CreateOperatorRequest::default()
        };
        answer(&attempt, first.operators().create_operator(request).await)?;
        let identity = new_identity()?;
        let client = client(app, address, ca, identity.clone())?;
        let attempt = Attempt::new(format!("log in as {name}"));
        let session = answer(&attempt, client.login_password("", name, &password).await)?;
        people.push(Person { role, identity, client, session });
    }
    drop(answer(&Attempt::new("end the bootstrap session"), first.logout().await));
    for person in &people {
        match person.role {
            "admin" => register(&person.client, issuer).await?,
            "officer" => grant(&person.client).await?,
            _ => {}
        }
    }
    if let Some(developer) = people.iter().find(|person| person.role.is_empty()) {
        for (path, fields) in seed.unwrap_or_default() {
            let attempt = Attempt::new(format!("write {path}")).at("write", &path);
            let fields: HashMap<String, Vec<u8>> = fields.into_iter().map(|(name, value)| (name, value.into_exposed())).collect();
            let request = PutSecretRequest { path, fields, ..PutSecretRequest::default() };
            answer(&attempt, developer.client.kv().put_secret(request).await)?;
        }
    }
    Ok(people)
}

fn client(app: &App, address: &str, ca: &Path, identity: Identity) -> Result<Client> {
    let mut options = Options::new(address, identity);
    options.ca = Some(ca.to_owned());
    options.call_timeout = app.timeout;
    answer(&Attempt::new("use the new vault"), Client::connect(options))
}

/// Initialises and unseals the vault over its socket. Gives the bootstrap credential; the share is kept in the folder,
/// for who tries sealing.
async fn open(folder: &MemoryFolder) -> Result<SecretString> {
    let socket = format!("unix://{}", folder.path().join("coffer.sock").display());
    let attempt = Attempt::new("initialise the new vault");
    let client = answer(&attempt, Client::connect(Options::new(socket, new_identity()?)))?;
    let request = InitRequest { share_count: 1, share_threshold: 1, ..InitRequest::default() };
    let fruits = answer(&attempt, client.system().init(request).await)?.into_inner();
    for share in fruits.shares {
        let share = SecretString::from(share);
        folder.write("share", share.expose().as_bytes(), Mode::RUSR)?;
        let request = UnsealRequest { share: share.expose().to_owned(), ..UnsealRequest::default() };
        answer(&Attempt::new("unseal the new vault"), client.system().unseal(request).await)?;
    }
    Ok(SecretString::from(fruits.bootstrap_credential))
}

/// Registers the cluster whose tokens the issuer makes.
async fn register(admin: &Client, issuer: &Issuer) -> Result<()> {
    let settings = ClusterSettings {
        issuer: issuer::URL.to_owned(),
        keys: Some(KeySource { source: Some(Keys::Jwks(issuer.jwks().to_string())) }),
        pod_check: PodCheck::None.into(),
        ..ClusterSettings::default()
    };
    let request = CreateClusterRequest { name: CLUSTER.to_owned(), settings: Some(settings), ..Default::default() };
    answer(&Attempt::new("register the development cluster"), admin.clusters().create_cluster(request).await).map(drop)
}

/// Lets the developer do everything with secrets.
async fn grant(officer: &Client) -> Result<()> {
    for path in PATHS {
        let request = CreateGrantRequest {
            actions: ACTIONS.map(str::to_owned).to_vec(),
            path: path.to_owned(),
            principal: format!("operator:{DEVELOPER}"),
            idempotency_key: String::new(),
            require: Vec::new(),
        };
        answer(&Attempt::new("grant the developer's rights"), officer.grants().create_grant(request).await)?;
    }
    Ok(())
}
