//! A store in etcd, for when one machine is not enough. Needs etcd 3.4 or later; tested with 3.6.
//!
//! All keys lie under a prefix, so that several vaults share one etcd. Versions and revisions are etcd's own. Reads are
//! linearisable. Every call has a deadline, and goes on to the next endpoint where that cannot do harm: a transaction
//! that may have been sent is never sent again, but answers [`StoreError::Unknown`].

mod watch;
mod wire;

use std::{
    error::Error,
    fmt, io,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    Code, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use zeroize::Zeroizing;

use self::wire::{
    Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest,
    kv_client::KvClient, request_op::Request,
};
use crate::{Condition, Entry, Feed, PAGE_BYTES_MAX, Revision, Store, StoreError, Transaction, Write, check};

/// Bytes of the prefix: with it in front of all keys, the largest transaction is still below etcd's limit.
pub const PREFIX_BYTES_MAX: usize = 256;
/// Endpoints of one etcd.
pub const ENDPOINTS_MAX: usize = 16;
/// How long one server may take to be reached.
const CONNECT_SECS_MAX: u64 = 2;
/// How long one call may take, on all endpoints together.
const CALL_SECS_MAX: u64 = 10;
/// How long one endpoint may take, where others are left to ask.
const ATTEMPT_SECS_MAX: u64 = 4;
/// How often a silent connection is tested (etcd refuses more than every 5 s), and how long the answer may take.
const KEEPALIVE_SECS: u64 = 10;
const KEEPALIVE_ANSWER_SECS_MAX: u64 = 5;
/// Bytes that an answer may have beside a page's keys and values: prefixes and numbers of its entries.
const ANSWER_OVERHEAD_BYTES_MAX: usize = 1 << 20;

/// Where etcd is and how it is spoken to.
#[derive(Clone)]
pub struct EtcdOptions {
    /// URLs of etcd's servers, `http` or `https`; 1 to [`ENDPOINTS_MAX`].
    pub endpoints: Vec<String>,
    /// What all keys begin with: 1 to [`PREFIX_BYTES_MAX`] bytes. No vault's prefix may begin with another's: end it
    /// with a slash.
    pub prefix: String,
    /// The authorities that etcd's certificates come from, in PEM; needed for `https`.
    pub ca_pem: Option<String>,
    /// The certificate to show, in PEM, with its key.
    pub certificate_pem: Option<String>,
    /// The key of that certificate, in PEM.
    pub key_pem: Option<Zeroizing<String>>,
}

impl fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdOptions").field("endpoints", &self.endpoints).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The options contradict themselves or a limit.
    #[error("the options for etcd are wrong: {0}")]
    Options(&'static str),
    /// An endpoint is no URL, or the certificates or the key are none.
    #[error("an endpoint of etcd, or its certificates, cannot be used")]
    Endpoint(#[source] tonic::transport::Error),
    /// No endpoint answers.
    #[error("etcd does not answer")]
    Unreachable(#[source] StoreError),
}

/// A store in etcd.
pub struct EtcdStore {
    endpoints: Vec<Channel>,
    /// The endpoint that answered last.
    current: AtomicUsize,
    prefix: Vec<u8>,
    /// Behind all keys of the prefix.
    prefix_end: Vec<u8>,
    feeds: TaskTracker,
    closing: CancellationToken,
}

impl EtcdStore {
    /// Connects, and sees that one endpoint answers.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect(options: EtcdOptions) -> Result<Self, ConnectError> {
        let store = Self::new(&options)?;
        store.revision().await.map_err(ConnectError::Unreachable)?;
        Ok(store)
    }

    fn new(options: &EtcdOptions) -> Result<Self, ConnectError> {
        if options.endpoints.is_empty() || options.endpoints.len() > ENDPOINTS_MAX {
            return Err(ConnectError::Options("the number of endpoints"));
        }
        if options.prefix.is_empty() || options.prefix.len() > PREFIX_BYTES_MAX {
            return Err(ConnectError::Options("bytes in the prefix"));
        }
        let prefix = options.prefix.clone().into_bytes();
        Ok(Self {
            endpoints: options.endpoints.iter().map(|url| channel(url, options)).collect::<Result<_, _>>()?,
            current: AtomicUsize::new(0),
            prefix_end: successor(&prefix).ok_or(ConnectError::Options("the prefix"))?,
            prefix,
            feeds: TaskTracker::new(),
            closing: CancellationToken::new(),
        })
    }

    fn wire_key(&self, key: &[u8]) -> Vec<u8> {
        [self.prefix.as_slice(), key].concat()
    }

    /// The current endpoint, and the others after it.
    fn channels(&self) -> impl Iterator<Item = (usize, Channel)> {
        let first = self.current.load(Ordering::Relaxed);
        self.endpoints.iter().cloned().enumerate().cycle().skip(first).take(self.endpoints.len())
    }

    /// Asks one endpoint after the other, and the first one twice: its connection may have been an old one.
    async fn read(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        let end = deadline(CALL_SECS_MAX);
        let mut failure = StoreError::Unavailable("etcd has no endpoint".into());
        for (index, channel) in self.channels().chain(self.channels().take(1)) {
            let mut client = KvClient::new(channel).max_decoding_message_size(PAGE_BYTES_MAX + ANSWER_OVERHEAD_BYTES_MAX);
            match timeout_at(end.min(deadline(ATTEMPT_SECS_MAX)), client.range(request.clone())).await {
                Ok(Ok(response)) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok(response.into_inner());
                }
                // Not etcd's answer, but what was made of one that is too large.
                Ok(Err(status)) if status.code() == Code::OutOfRange => return Err(StoreError::Limit("bytes in a page")),
                Ok(Err(status)) => failure = StoreError::Unavailable(Box::new(status)),
                Err(elapsed) => failure = StoreError::Unavailable(Box::new(elapsed)),
            }
            if Instant::now() >= end {
                break;
            }
        }
        Err(failure)
    }

    fn entry(&self, kv: KeyValue) -> Result<Entry, StoreError> {
        let key = kv.key.strip_prefix(self.prefix.as_slice()).ok_or_else(foreign)?.to_vec();
        Ok(Entry { key, value: kv.value, version: unsigned(kv.version)?, modified: Revision(unsigned(kv.mod_revision)?) })
    }

    fn request(&self, transaction: Transaction) -> TxnRequest {
        let compare = transaction.conditions.into_iter().map(|condition| {
            let (key, version) = match condition {
                Condition::Absent(key) => (key, 0),
                // To etcd, 0 means absent: ask for a version that nothing has.
                Condition::Version(key, version) => {
                    (key, i64::try_from(version).ok().filter(|version| *version > 0).unwrap_or(i64::MAX))
                }
            };
            Compare {
                key: self.wire_key(&key),
                target_union: Some(wire::compare::TargetUnion::Version(version)),
                ..Compare::default()
            }
        });
        let success = transaction.writes.into_iter().map(|write| RequestOp {
            request: Some(match write {
                Write::Put(key, value) | Write::Create(key, value) => {
                    Request::RequestPut(PutRequest { key: self.wire_key(&key), value })
                }
                Write::Delete(key) | Write::Erase(key) => {
                    Request::RequestDeleteRange(DeleteRangeRequest { key: self.wire_key(&key) })
                }
            }),
        });
        TxnRequest { compare: compare.collect(), success: success.collect() }
    }
}

#[async_trait::async_trait]
impl Store for EtcdStore {
    fn kind(&self) -> &'static str {
        "etcd"
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        check::key(key)?;
        let response = self.read(RangeRequest { key: self.wire_key(key), ..RangeRequest::default() }).await?;
        response.kvs.into_iter().next().map(|kv| self.entry(kv)).transpose()
    }

    async fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        check::range(start, end, limit)?;
        let mut page = check::Page::default();
        if !end.is_empty() && start >= end {
            return Ok(page.into_entries());
        }
        let range_end = if end.is_empty() { self.prefix_end.clone() } else { self.wire_key(end) };
        let limit = i64::try_from(limit).map_err(|_| StoreError::Limit("entries in a page"))?;
        let response = self.read(RangeRequest { key: self.wire_key(start), range_end, limit, ..RangeRequest::default() }).await?;
        for kv in response.kvs {
            page.push(self.entry(kv)?)?;
        }
        Ok(page.into_entries())
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        check::transaction(&transaction)?;
        let request = self.request(transaction);
        let end = deadline(CALL_SECS_MAX);
        let mut failure = StoreError::Unavailable("etcd has no endpoint".into());
        for (index, channel) in self.channels() {
            match timeout_at(end, KvClient::new(channel).txn(request.clone())).await {
                Ok(Ok(response)) => {
                    self.current.store(index, Ordering::Relaxed);
                    let response = response.into_inner();
                    return if response.succeeded { revision(response.header) } else { Err(StoreError::Conflict) };
                }
                Ok(Err(status)) if is_out_of_space(&status) => {
                    return Err(StoreError::Unavailable(Box::new(io::Error::new(io::ErrorKind::StorageFull, status))));
                }
                Ok(Err(status)) if was_not_done(&status) => failure = StoreError::Unavailable(Box::new(status)),
                Ok(Err(status)) => return Err(StoreError::Unknown(Box::new(status))),
                Err(elapsed) => return Err(StoreError::Unknown(Box::new(elapsed))),
            }
        }
        Err(failure)
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        let request = RangeRequest { key: self.prefix.clone(), count_only: true, ..RangeRequest::default() };
        revision(self.read(request).await?.header)
    }

    async fn changes(&self, since: Revision) -> Result<Feed, StoreError> {
        if since > self.revision().await? {
            return Err(StoreError::Compacted);
        }
        watch::open(self, since).await
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

/// Whether the transaction surely was not done: it was never sent, or etcd said so.
fn was_not_done(status: &Status) -> bool {
    match status.code() {
        Code::InvalidArgument
        | Code::ResourceExhausted
        | Code::Unauthenticated
        | Code::PermissionDenied
        | Code::Unimplemented => true,
        _ => {
            let mut cause = status.source();
            while let Some(error) = cause {
                if error.is::<tonic::ConnectError>() {
                    return true;
                }
                cause = error.source();
            }
            false
        }
    }
}

/// Whether etcd writes nothing any more, since its database is as large as its quota.
fn is_out_of_space(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted && status.message().contains("database space exceeded")
}

fn channel(url: &str, options: &EtcdOptions) -> Result<Channel, ConnectError> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(ConnectError::Endpoint)?
        .connect_timeout(Duration::from_secs(CONNECT_SECS_MAX))
        .http2_keep_alive_interval(Duration::from_secs(KEEPALIVE_SECS))
        .keep_alive_timeout(Duration::from_secs(KEEPALIVE_ANSWER_SECS_MAX))
        .keep_alive_while_idle(true);
    let secure = match endpoint.uri().scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(ConnectError::Options("an endpoint is neither http nor https")),
    };
    let endpoint = match (secure, &options.ca_pem) {
        (false, None) if options.certificate_pem.is_none() && options.key_pem.is_none() => endpoint,
        (false, _) => return Err(ConnectError::Options("certificates are given, and an endpoint is not https")),
        (true, None) => return Err(ConnectError::Options("https needs the authority of etcd's certificates")),
        (true, Some(ca)) => {
            let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
            match (&options.certificate_pem, &options.key_pem) {
                (Some(certificate), Some(key)) => tls = tls.identity(Identity::from_pem(certificate, key.as_bytes())),
                (None, None) => {}
                _ => return Err(ConnectError::Options("a certificate and its key go together")),
            }
            endpoint.tls_config(tls).map_err(ConnectError::Endpoint)?
        }
    };
    Ok(endpoint.connect_lazy())
}

/// The first key behind all that begin with `prefix`; none where there is no such key.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

fn revision(header: Option<ResponseHeader>) -> Result<Revision, StoreError> {
    let header = header.ok_or_else(|| StoreError::Corrupt("etcd answers without a revision".into()))?;
    Ok(Revision(unsigned(header.revision)?))
}

fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt("etcd answers with a negative number".into()))
}

fn foreign() -> StoreError {
    StoreError::Corrupt("etcd answers with a key of another prefix".into())
}

fn deadline(secs: u64) -> Instant {
    let now = Instant::now();
    now.checked_add(Duration::from_secs(secs)).unwrap_or(now)
}

#[cfg(test)]
mod tests;
