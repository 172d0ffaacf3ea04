//! Keeps a cache up to date: a list, then a watch from there on, again and again.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    ApiError, ApiServer, CacheStatus, PODS_MAX, PodCache,
    index::Observed,
    object::{Event, Page},
};

/// How long the server keeps a watch before it is opened anew. Short, because a connection that has died in silence is
/// only noticed then; opening is cheap for the server, which goes on where the watch was.
const WATCH_SECS: u64 = 25;
/// How much longer may pass before the connection counts as dead.
const WATCH_GRACE_SECS: u64 = 10;
/// Waits between attempts: twice as long each time, up to the longest. There are few vaults to a cluster: no jitter.
const BACKOFF_MS_MIN: u64 = 200;
const BACKOFF_MS_MAX: u64 = 10_000;
/// Pods in a page of a list.
const PAGE_PODS: usize = 500;
/// Bytes of a page.
const PAGE_BYTES_MAX: usize = 256 << 20;

/// The HTTP status of a server that has forgotten where the watch was.
const EXPIRED: u16 = 410;

pub(crate) async fn run(api: ApiServer, audience: String, cache: PodCache, cancel: CancellationToken) {
    let watcher = Watcher { api, audience, cache, backoff_ms: BACKOFF_MS_MIN };
    cancel.run_until_cancelled(watcher.run()).await;
}

struct Watcher {
    api: ApiServer,
    /// Whom tokens for the vault are for.
    audience: String,
    cache: PodCache,
    backoff_ms: u64,
}

struct List {
    cluster: String,
    pods: Vec<(String, Observed)>,
    version: String,
}

impl Watcher {
    async fn run(mut self) {
        loop {
            match self.list().await {
                Ok(List { cluster, pods, version }) => {
                    if self.cache.relist(&cluster, pods) {
                        self.follow(version).await;
                    } else {
                        tracing::error!("another cluster answers: no pod is taken for gone until this is confirmed");
                    }
                }
                Err(error) => tracing::warn!(error = ?error, "the pods cannot be listed"),
            }
            self.wait().await;
        }
    }

    /// All pods. Whole, and of one cluster: anything else is an error.
    async fn list(&self) -> Result<List, ApiError> {
        let cluster = self.api.cluster_uid().await?;
        let mut pods = Vec::new();
        let mut next = String::new();
        loop {
            let path = format!("/api/v1/pods?limit={PAGE_PODS}&continue={next}");
            let page = Page::read(&self.api.server().get(&path, PAGE_BYTES_MAX).await?, &self.audience)?;
            pods.extend(page.pods);
            if pods.len() > PODS_MAX {
                return Err(ApiError::TooLarge);
            }
            if page.next.is_empty() {
                if self.api.cluster_uid().await? != cluster {
                    return Err(ApiError::Unreadable("two clusters answer in turn".into()));
                }
                return Ok(List { cluster, pods, version: page.version });
            }
            next = percent_encoded(&page.next);
        }
    }

    /// Watches on from a list, until there has to be another.
    async fn follow(&mut self, mut version: String) {
        loop {
            match self.watch(&mut version).await {
                Ok(()) => {
                    self.backoff_ms = BACKOFF_MS_MIN;
                    if self.needs_a_list(&version).await {
                        return;
                    }
                }
                // The server has forgotten where the watch was, or tells what cannot be followed.
                Err(ApiError::Refused(EXPIRED) | ApiError::Unreadable(_) | ApiError::TooLarge) => return,
                Err(error) => {
                    tracing::warn!(error = ?error, "the watch of the pods broke");
                    self.wait().await;
                    // Before going on as if nothing had been: is it still the same cluster?
                    match self.api.cluster_uid().await {
                        Ok(cluster) if self.cache.cluster_uid().as_ref() != Some(&cluster) => return,
                        Ok(_) if self.needs_a_list(&version).await => return,
                        Ok(_) | Err(_) => {}
                    }
                }
            }
        }
    }

    /// Whether to list the pods anew rather than go on with the watch: a list that was not believed may have been wrong, which
    /// another one shows, or the server has gone back.
    async fn needs_a_list(&self, version: &str) -> bool {
        self.cache.status() != CacheStatus::Synced || self.went_back(version).await
    }

    /// Whether the server's newest version is before the one of the watch: it was restored from a backup, and would tell
    /// nothing until it has come as far again.
    async fn went_back(&self, version: &str) -> bool {
        let Ok(newest) = self.api.server().get("/api/v1/pods?limit=1", PAGE_BYTES_MAX).await else { return false };
        let Ok(newest) = Page::read(&newest, &self.audience) else { return false };
        let back = is_before(&newest.version, version);
        if back {
            tracing::warn!("the API server has gone back to an earlier state: listing the pods anew");
        }
        back
    }

    /// One watch, until the server ends it.
    async fn watch(&mut self, version: &mut String) -> Result<(), ApiError> {
        let path = format!(
            "/api/v1/pods?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECS}&resourceVersion={}",
            percent_encoded(version)
        );
        let mut events = self.api.server().events(&path).await?;
        self.cache.heard();
        loop {
            let patience = Duration::from_secs(WATCH_SECS.saturating_add(WATCH_GRACE_SECS));
            let line = timeout(patience, events.next()).await.map_err(|_| ApiError::TimedOut)??;
            let Some(line) = line else {
                self.cache.heard();
                return Ok(());
            };
            match Event::read(&line, &self.audience)? {
                Event::Applied { uid, pod, version: now } => {
                    self.cache.apply(&uid, pod);
                    *version = now;
                }
                Event::Deleted { uid, version: now } => {
                    self.cache.delete(&uid);
                    *version = now;
                }
                Event::Bookmark { version: now } => *version = now,
                Event::Error(status) => return Err(ApiError::Refused(status)),
            }
            self.cache.heard();
            self.backoff_ms = BACKOFF_MS_MIN;
        }
    }

    /// Waits a while, or until a loss is confirmed.
    async fn wait(&mut self) {
        let pause = Duration::from_millis(self.backoff_ms);
        self.backoff_ms = self.backoff_ms.saturating_mul(2).min(BACKOFF_MS_MAX);
        tokio::select! {
            () = sleep(pause) => {}
            () = self.cache.confirmed() => {}
        }
    }
}

/// Whether one version of the cluster's objects is before another; not where they are no numbers, which compare in no way.
fn is_before(version: &str, other: &str) -> bool {
    matches!((version.parse::<u64>(), other.parse::<u64>()), (Ok(version), Ok(other)) if version < other)
}

/// For a query: what is not plain is written as its bytes.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::{is_before, percent_encoded};

    #[test]
    fn versions_are_compared_as_numbers_or_not_at_all() {
        assert!(is_before("9", "10"));
        assert!(!is_before("10", "9") && !is_before("9", "9") && !is_before("", "9") && !is_before("9", "ten"));
    }

    #[test]
    fn what_is_not_plain_is_encoded() {
        assert_eq!(percent_encoded("aZ09-_.~"), "aZ09-_.~");
        assert_eq!(percent_encoded("a=b&c d/\u{e9}"), "a%3Db%26c%20d%2F%C3%A9");
    }
}
