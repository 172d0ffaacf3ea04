//! What registries are asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use coffer_secret::{SecretBytes, SecretString};
use hyper::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE},
};
use serde::Deserialize;
use tokio::time::timeout;

use crate::{
    Blob, Credentials, Digest, Error, Reference, SettingsError,
    challenge::Challenge,
    origin::{Origin, Target},
    reference::HUB,
    transport::{Head, Transport},
};

/// Bytes of a manifest: what registries take.
pub(crate) const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Bytes of a token service's answer.
const TOKEN_BYTES_MAX: usize = 64 << 10;
/// Tokens that are kept; past that, all are asked for anew.
const TOKENS_MAX: usize = 256;
/// How long a token is used, and how long where its service does not say.
const TOKEN_TIME_MAX: Duration = Duration::from_secs(60);
/// How long an answer may take, with all that has to be asked before; of a blob, its head.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Where the API of the registry `docker.io` is.
const HUB_API: &str = "registry-1.docker.io";
/// Manifests that are understood: indexes, and those of one image.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
const DIGEST_HEADER: &str = "docker-content-digest";

/// How registries are spoken to.
#[derive(Debug, Default)]
pub struct Registries {
    /// Users and passwords.
    pub credentials: Credentials,
    /// Registries without TLS, `HOST` or `HOST:PORT`. They are told no password.
    pub plain_http: BTreeSet<String>,
    /// CA certificates that are believed beside the public ones, in PEM.
    pub authorities: Option<Vec<u8>>,
}

/// A manifest, as the registry has it: a change of one byte would be another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What kind it is.
    pub media_type: String,
    /// Its content, whose digest is `digest`.
    pub bytes: Vec<u8>,
    /// Its digest.
    pub digest: Digest,
}

/// Asks registries.
pub struct Client {
    transport: Transport,
    credentials: Credentials,
    /// By registry and repository, with their ends.
    tokens: Mutex<BTreeMap<String, (Arc<SecretString>, Instant)>>,
}

impl Client {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// Where settings cannot be used.
    pub fn new(registries: Registries) -> Result<Self, SettingsError> {
        let Registries { credentials, plain_http, authorities } = registries;
        if let Some(wrong) = plain_http.iter().find(|host| !crate::reference::is_host(host)) {
            return Err(SettingsError(format!("{wrong:?} is no registry: write HOST or HOST:PORT, in lower case")));
        }
        let transport = Transport::new(authorities.as_deref(), plain_http)?;
        Ok(Self { transport, credentials, tokens: Mutex::new(BTreeMap::new()) })
    }

    /// The digest that an image's tag stands for now: of an index, where there is one. An image with a digest has that, and nobody is
    /// asked.
    ///
    /// # Errors
    /// Where the registry does not say.
    pub async fn resolve(&self, image: &Reference) -> Result<Digest, Error> {
        if let Some(digest) = image.digest() {
            return Ok(*digest);
        }
        in_time(image, async {
            let head = self.ask(&Method::HEAD, image, &path_of_manifest(image), MANIFESTS).await?;
            if head.status == 200
                && is_manifest(media_type(&head.headers))
                && let Some(digest) = told_digest(&head.headers, image)?
            {
                return Ok(digest);
            }
            // An answer without a body says neither what is wrong, nor what could be hashed.
            Ok(self.whole_manifest(image).await?.digest)
        })
        .await
    }

    /// An image's manifest, or index.
    ///
    /// # Errors
    /// Where the registry does not give it, or another than was asked for.
    pub async fn manifest(&self, image: &Reference) -> Result<Manifest, Error> {
        in_time(image, self.whole_manifest(image)).await
    }

    async fn whole_manifest(&self, image: &Reference) -> Result<Manifest, Error> {
        let head = self.ask(&Method::GET, image, &path_of_manifest(image), MANIFESTS).await?.granted().await?;
        let (told, media_type) = (told_digest(&head.headers, image)?, media_type(&head.headers).to_owned());
        if !is_manifest(&media_type) {
            return Err(Error::wrong(
                image.host(),
                format!("{:?} is no manifest of today", crate::error::printable(&media_type)),
            ));
        }
        let bytes = head.whole(MANIFEST_BYTES_MAX).await?.to_vec();
        let digest = Digest::of(&bytes);
        if told.is_some_and(|told| told != digest) || image.digest().is_some_and(|asked| *asked != digest) {
            return Err(Error::wrong(image.host(), format!("the manifest has the digest {digest}, which was not asked for")));
        }
        Ok(Manifest { media_type, bytes, digest })
    }

    /// A blob of an image: what a manifest names by digest and size. It is checked while it is read.
    ///
    /// # Errors
    /// Where the registry does not give it.
    pub async fn blob(&self, image: &Reference, digest: &Digest, size: u64) -> Result<Blob, Error> {
        let head = in_time(image, async {
            let path = format!("/v2/{}/blobs/{digest}", image.repository());
            self.ask(&Method::GET, image, &path, "*/*").await?.granted().await
        });
        Ok(Blob::new(head.await?, *digest, size))
    }

    /// Asks, and logs in where that is wanted.
    pub(crate) async fn ask(
        &self,
        method: &Method,
        image: &Reference,
        path: &str,
        accepted: &'static str,
    ) -> Result<Head, Error> {
        let host = if image.host() == HUB { HUB_API } else { image.host() };
        let target = Target { origin: self.transport.origin(host), path: path.to_owned() };
        let known = self.token(image);
        let head = self.transport.ask(method, &target, accepted, known.as_deref()).await?;
        // Who is asked by another registry's word is told nothing.
        if head.status != 401 || !head.origin.is(&target.origin) {
            return Ok(head);
        }
        let mut wanted =
            head.headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|header| Challenge::read(header.to_str().ok()?));
        let authorization = match wanted.next() {
            Some(Challenge::Basic) => match self.user(image, target.origin.is_plain)? {
                Some(user) => Arc::new(basic(user)),
                None => return Ok(head),
            },
            Some(Challenge::Bearer { realm, service }) => {
                self.fetch_token(image, &target.origin, &realm, service.as_deref()).await?
            }
            None => return Ok(head),
        };
        self.transport.ask(method, &target, accepted, Some(&authorization)).await
    }

    /// The user for an image, for one who may be told.
    fn user(&self, image: &Reference, is_plain: bool) -> Result<Option<&SecretString>, Error> {
        let user = self.credentials.of(image);
        match user.is_some() && is_plain {
            true => Err(Error::Withheld { host: image.host().to_owned(), why: "it wants one without TLS" }),
            false => Ok(user),
        }
    }

    fn token(&self, image: &Reference) -> Option<Arc<SecretString>> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, end) = tokens.get(&name_of(image))?;
        (*end > Instant::now()).then(|| Arc::clone(token))
    }

    /// Asks the registry's token service for a token that can pull one repository, and nothing else.
    async fn fetch_token(
        &self,
        image: &Reference,
        registry: &Origin,
        realm: &str,
        service: Option<&str>,
    ) -> Result<Arc<SecretString>, Error> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<u64>,
        }
        let mut target =
            Target::read(realm, None).ok_or_else(|| Error::wrong(image.host(), "its token service is no address"))?;
        self.transport.check(&target.origin, image.host())?;
        target.path.push(if target.path.contains('?') { '&' } else { '?' });
        if let Some(service) = service {
            target.path.push_str(&format!("service={}&", escaped(service)));
        }
        target.path.push_str(&format!("scope={}", escaped(&format!("repository:{}:pull", image.repository()))));
        // Without TLS anybody on the way can name a service of their own.
        let user = self.user(image, registry.is_plain || target.origin.is_plain)?.map(basic);
        let head = self.transport.ask(&Method::GET, &target, "application/json", user.as_ref()).await?.granted().await?;
        let body = SecretBytes::from(head.whole(TOKEN_BYTES_MAX).await?.to_vec());
        let answer = serde_json::from_slice(body.expose());
        let Answer { token, access_token, expires_in } =
            answer.map_err(|_| Error::wrong(&target.origin.authority, "its token is none"))?;
        let (token, other) = (token.map(SecretString::from), access_token.map(SecretString::from));
        let token = token.or(other).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| Error::wrong(&target.origin.authority, "it gives no token"))?;
        let token = Arc::new(SecretString::from(format!("Bearer {}", token.expose())));
        let lasts = expires_in.map_or(TOKEN_TIME_MAX, Duration::from_secs).min(TOKEN_TIME_MAX);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        tokens.insert(name_of(image), (Arc::clone(&token), Instant::now() + lasts));
        Ok(token)
    }
}

pub(crate) async fn in_time<T>(image: &Reference, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let answered = timeout(ANSWER_TIME_MAX, asked).await;
    answered.unwrap_or_else(|_| Err(Error::TooLong { host: image.host().to_owned() }))
}

fn basic(user: &SecretString) -> SecretString {
    format!("Basic {}", user.expose()).into()
}

fn name_of(image: &Reference) -> String {
    format!("{}/{}", image.host(), image.repository())
}

fn path_of_manifest(image: &Reference) -> String {
    let what = image.digest().map(ToString::to_string).or_else(|| image.tag().map(str::to_owned)).unwrap_or_default();
    format!("/v2/{}/manifests/{what}", image.repository())
}

/// The digest that a registry says a manifest has.
fn told_digest(headers: &HeaderMap, image: &Reference) -> Result<Option<Digest>, Error> {
    let read = |header: &hyper::header::HeaderValue| header.to_str().ok().and_then(|text| text.parse().ok());
    let Some(header) = headers.get(DIGEST_HEADER) else { return Ok(None) };
    read(header).map(Some).ok_or_else(|| Error::wrong(image.host(), "what it says is the digest is none of sha256"))
}

pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let text = headers.get(CONTENT_TYPE).and_then(|header| header.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

fn is_manifest(media_type: &str) -> bool {
    MANIFESTS.split(", ").any(|manifest| manifest == media_type)
}

/// A value of a query.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            true => escaped.push(char::from(byte)),
            false => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
