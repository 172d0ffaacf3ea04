//! Blobs, checked while they are read.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::body::{Bytes, Incoming};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, ReadBuf},
    task::JoinSet,
    time::{Instant, Sleep, sleep},
};

use crate::{
    Digest, Error,
    transport::{Head, next},
};

/// How long nothing may come of a blob.
const SILENCE_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a blob may take: one that comes byte by byte would never end.
const BLOB_TIME_MAX: Duration = Duration::from_secs(3_600);

/// A blob that comes from a registry. It ends well only where it was the one that was asked for, whole: another size or digest is an error
/// before its last part is given out, so that whoever reads to the end has read what was meant.
pub struct Blob {
    host: String,
    body: Incoming,
    _connection: JoinSet<()>,
    digest: Digest,
    hasher: Sha256,
    left: u64,
    part: Bytes,
    silence: Pin<Box<Sleep>>,
    end: Pin<Box<Sleep>>,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Reading,
    /// Every byte is there, and it is the blob.
    Checked,
    Ended,
    Failed(Error),
}

impl Blob {
    pub(crate) fn new(head: Head, digest: Digest, size: u64) -> Self {
        Self {
            host: head.origin.authority,
            body: head.body,
            _connection: head.connection,
            digest,
            hasher: Sha256::new(),
            left: size,
            part: Bytes::new(),
            silence: Box::pin(sleep(SILENCE_TIME_MAX)),
            end: Box::pin(sleep(BLOB_TIME_MAX)),
            state: State::Reading,
        }
    }

    fn wrong(&self, why: &str) -> Error {
        Error::wrong(&self.host, format!("the blob {} {why}", self.digest))
    }

    /// What came next: a part, nothing more, or what should not.
    fn take(&mut self, came: Option<Result<Bytes, hyper::Error>>) -> Result<(), Error> {
        let (part, is_end) = match came {
            Some(Ok(part)) => (part, false),
            Some(Err(_)) => return Err(Error::unreachable(&self.host, "the blob broke off")),
            None if self.left > 0 => return Err(self.wrong(&format!("lacks {} bytes", self.left))),
            None => (Bytes::new(), true),
        };
        self.hasher.update(&part);
        let bytes = u64::try_from(part.len()).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(bytes).ok_or_else(|| self.wrong("has more bytes than its manifest says"))?;
        if self.left == 0 && matches!(self.state, State::Reading) {
            if Digest::finished(std::mem::take(&mut self.hasher)) != self.digest {
                return Err(self.wrong("has another digest"));
            }
            self.state = State::Checked;
        }
        if is_end {
            self.state = State::Ended;
        }
        self.part = part;
        Ok(())
    }

    /// Has the next part, or knows that there is none.
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while self.part.is_empty() && matches!(self.state, State::Reading | State::Checked) {
            let came = match next(&mut self.body, context) {
                Poll::Ready(came) => came,
                Poll::Pending => {
                    let is_late = self.silence.as_mut().poll(context).is_ready() || self.end.as_mut().poll(context).is_ready();
                    return if is_late { Poll::Ready(Err(Error::TooLong { host: self.host.clone() })) } else { Poll::Pending };
                }
            };
            self.take(came)?;
            self.silence.as_mut().reset(Instant::now() + SILENCE_TIME_MAX);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Blob {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let State::Failed(error) = &self.state {
            return Poll::Ready(Err(io::Error::other(error.clone())));
        }
        if let Err(error) = ready!(self.poll_part(context)) {
            self.part = Bytes::new();
            self.state = State::Failed(error.clone());
            return Poll::Ready(Err(io::Error::other(error)));
        }
        let given = self.part.len().min(buffer.remaining());
        buffer.put_slice(&self.part.split_to(given));
        Poll::Ready(Ok(()))
    }
}
