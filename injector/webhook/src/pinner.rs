//! Asks registries for the digests of images.
//!
//! Only registries that the operator names are asked: otherwise whoever makes a pod would say where this connects to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use coffer_registry::{Client, Credentials, Reference, Registries};
use coffer_secret::SecretBytes;
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

use crate::pins::Pins;

/// Images that are asked for at once, for all pods.
const LOOKUPS_MAX: usize = 32;
/// How long all of a pod's images may take, where the API server does not say how long it waits.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(4);
/// How long a digest is used that was asked for: replicas of a Deployment are made within a moment.
const DIGEST_TIME_MAX: Duration = Duration::from_secs(2);
/// Digests that are kept; past that, all are asked for anew.
const DIGESTS_MAX: usize = 1_024;
/// How long credentials and CA certificates are used before their files are read again.
const FILES_TIME_MAX: Duration = Duration::from_secs(30);

/// Where images may be looked up, and how.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Registries that are asked: `HOST` or `HOST:PORT`, as images name them.
    pub registries: BTreeSet<String>,
    /// Those of them that have no TLS.
    pub plain_http: BTreeSet<String>,
    /// A file of users and passwords, as Docker's `config.json`.
    pub docker_config: Option<PathBuf>,
    /// A file of CA certificates that are believed beside the public ones, in PEM.
    pub authorities: Option<PathBuf>,
}

/// Asks registries.
pub struct Pinner {
    sources: Sources,
    client: Mutex<(Instant, Arc<Client>)>,
    digests: Mutex<BTreeMap<String, (Instant, String)>>,
    places: Semaphore,
}

impl Pinner {
    /// Nobody is asked yet.
    ///
    /// # Errors
    /// Where the sources cannot be used.
    pub fn new(sources: Sources) -> Result<Self, String> {
        let client = Mutex::new((Instant::now(), Arc::new(sources.client()?)));
        Ok(Self { sources, client, digests: Mutex::default(), places: Semaphore::new(LOOKUPS_MAX) })
    }

    /// Asks for images, all at once, within a time that the API server waits for.
    pub async fn look_up(self: &Arc<Self>, images: BTreeSet<String>, waits: Option<Duration>) -> Pins {
        if images.is_empty() {
            return Pins::new();
        }
        let late = |image: String| (image, Err("its registry takes too long to answer".to_owned()));
        let mut pins: Pins = images.iter().cloned().map(late).collect();
        let mut asked = JoinSet::new();
        for image in images {
            let pinner = Arc::clone(self);
            asked.spawn(async move {
                let pinned = pinner.pin(&image).await;
                (image, pinned)
            });
        }
        // What is left of its time is for the answer to come back.
        let time = waits.map_or(LOOKUP_TIME_MAX, |waits| waits * 4 / 5);
        let all = async {
            while let Some(answered) = asked.join_next().await {
                pins.extend(answered.ok());
            }
        };
        // Those that were not answered stay late.
        timeout(time, all).await.unwrap_or_default();
        pins
    }

    async fn pin(&self, written: &str) -> Result<String, String> {
        let image: Reference = written.parse().map_err(|error: coffer_registry::ReferenceError| error.to_string())?;
        if !self.sources.registries.contains(image.host()) {
            return Err(format!(
                "the registry {} is not one of injector.pinImages.registries in the chart's values",
                image.host()
            ));
        }
        let _place = self.places.acquire().await.map_err(|error| error.to_string())?;
        let begin = Instant::now();
        if let Some((asked, pinned)) = self.digests.lock().unwrap_or_else(PoisonError::into_inner).get(written)
            && begin.duration_since(*asked) < DIGEST_TIME_MAX
        {
            return Ok(pinned.clone());
        }
        let digest = self.client()?.resolve(&image).await.map_err(|error| error.to_string())?;
        let pinned = image.pinned(digest).to_string();
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if digests.len() >= DIGESTS_MAX {
            digests.clear();
        }
        digests.insert(written.to_owned(), (begin, pinned.clone()));
        Ok(pinned)
    }

    /// The client, with what is in its files by now.
    fn client(&self) -> Result<Arc<Client>, String> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if client.0.elapsed() >= FILES_TIME_MAX {
            *client = (Instant::now(), Arc::new(self.sources.client()?));
        }
        Ok(Arc::clone(&client.1))
    }
}

impl Sources {
    /// A client with what is in the files now: a few KiB, which a projected volume has in memory.
    fn client(&self) -> Result<Client, String> {
        let open = |path: &Path| fs::read(path).map_err(|error: io::Error| format!("{}: {error}", path.display()));
        if let Some(wrong) = self.plain_http.iter().find(|host| !self.registries.contains(*host)) {
            return Err(format!("{wrong} is to be asked without TLS, and is not one of the registries that are asked"));
        }
        let credentials = self.docker_config.as_deref().map(|path| open(path).map(SecretBytes::from)).transpose()?;
        let credentials = credentials.map(|file| Credentials::read(&file)).transpose().map_err(|error| error.to_string())?;
        let registries = Registries {
            credentials: credentials.unwrap_or_default(),
            plain_http: self.plain_http.clone(),
            authorities: self.authorities.as_deref().map(open).transpose()?,
        };
        Client::new(registries).map_err(|error| error.to_string())
    }
}

/// How long the API server waits for an answer: it says so behind the path, as `timeout=5s`.
pub(crate) fn waits(query: Option<&str>) -> Option<Duration> {
    let text = query?.split('&').find_map(|part| part.strip_prefix("timeout="))?;
    humantime::parse_duration(text).ok()
}

#[cfg(test)]
mod tests;
