//! What both servers hold, and what both are asked.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use coffer_tests::{
    issuer::{Issuer, Pod},
    postgres::Postgres,
};
use http_body_util::Full;
use hyper::body::Bytes;

use crate::load::{Load, Target};

/// Bytes of a secret's value.
const VALUE_BYTES: usize = 1_024;
/// The service account that logs in.
pub(crate) const JWT_ACCOUNT: (&str, &str) = ("bench", "load");
/// How long a service-account token lasts.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3_600);

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Work {
    /// Secrets of 1 KiB are read, one after another.
    Read,
    /// Secrets of 1 KiB are written, durably.
    Write,
    /// A workload logs in with an ES256 token; what it gets is not stored.
    Login,
    /// All names of a folder are listed.
    List,
    /// Values of 1 KiB are encrypted with a key that stays in the server.
    Transit,
    /// Certificates with keys of P-256 are made, and kept in the server's lists.
    Pki,
    /// Such certificates are made, and nothing is kept of them.
    PkiUnstored,
    /// Users of a PostgreSQL are made, and ended at once.
    Database,
}

/// What both servers hold.
pub(crate) struct Scene {
    /// Where stores and logs are: a real disk.
    pub(crate) disk: PathBuf,
    /// Secrets that are read.
    pub(crate) read_keys: u64,
    /// Secrets that are written.
    pub(crate) write_keys: u64,
    /// Secrets in the folder that is listed.
    pub(crate) list_keys: u64,
    /// Whose tokens both believe.
    pub(crate) issuer: Issuer,
    /// The port of a PostgreSQL on loopback, where its users are made.
    pub(crate) database: Option<u16>,
}

impl Scene {
    /// A service-account token.
    pub(crate) fn token(&self, (namespace, account): (&str, &str)) -> Result<String> {
        self.issuer.token(&Pod::new(namespace, account)?, TOKEN_LIFETIME)
    }

    /// The issuer's P-256 key as a PEM text.
    pub(crate) fn issuer_pem(&self) -> Result<String> {
        /// SubjectPublicKeyInfo of a P-256 key (RFC 5480) up to the point's coordinates.
        const HEAD: [u8; 27] = [
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
            0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
        ];
        let jwks = self.issuer.jwks();
        let coordinate = |name: &str| -> Result<Vec<u8>> {
            let text = jwks.pointer(&format!("/keys/0/{name}")).and_then(|value| value.as_str()).context("a P-256 key")?;
            Ok(URL_SAFE_NO_PAD.decode(text)?)
        };
        let der = [HEAD.to_vec(), coordinate("x")?, coordinate("y")?].concat();
        Ok(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der)))
    }
}

/// One of the two servers.
pub(crate) trait Side {
    /// Its process.
    fn process(&self) -> u32;
    /// How it is reached.
    fn target(&self) -> &Target;
    /// What does a work.
    fn load(&self, work: Work, scene: &Scene) -> Result<Load>;
}

/// The user of a server in the database: allowed to make users, and to end their sessions.
pub(crate) const KEEPER: (&str, &str) = ("keeper", "keeper-password");
/// Connections that a server has to the database.
pub(crate) const DATABASE_CONNECTIONS: u32 = 16;
/// What makes a user.
pub(crate) const CREATION: &str =
    "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT SELECT ON orders TO \"{{name}}\"";
/// What ends one, as the peer's documentation has it; Coffer's own way is longer.
pub(crate) const REVOCATION: &str = "REVOKE ALL ON orders FROM \"{{name}}\"; DROP ROLE IF EXISTS \"{{name}}\"";

/// A PostgreSQL with something to have a right to.
pub(crate) fn database() -> Result<Postgres> {
    let database = Postgres::start()?;
    let (user, password) = KEEPER;
    database.sql("CREATE TABLE orders (id int)")?;
    database.sql(&format!("CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{password}'"))?;
    Ok(database)
}

/// A value that is no other's.
pub(crate) fn value(number: u64) -> Vec<u8> {
    let mut value = format!("{number:016x}").into_bytes();
    value.resize(VALUE_BYTES, b'.');
    value
}

/// A request with its content.
pub(crate) fn body(request: http::request::Builder, content: Bytes) -> http::Request<Full<Bytes>> {
    request.body(Full::new(content)).expect("paths and headers here are plain text")
}
