//! A client that speaks TLS and HTTP/2 as it likes, byte by byte.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// How an HTTP/2 client begins, with settings to follow.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kinds of frames (RFC 9113).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
/// The flags of an answer to settings or a ping, of the last frame of a request, and of whole headers.
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// Settings.
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const MAX_FRAME_SIZE: u16 = 5;
pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;

/// How often a connection is tried again.
const ATTEMPTS_MAX: u32 = 20;

/// What a server is reached with.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) server: SocketAddr,
    tls: Arc<ClientConfig>,
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [length.get(1..).unwrap_or_default(), &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a request for an RPC, without compression.
pub(crate) fn head(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in usual.iter().chain(more) {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// A number as HPACK has it (RFC 7541), in a byte of which seven bits are left.
fn integer(block: &mut Vec<u8>, number: usize) {
    let Ok(small @ 0..127) = u8::try_from(number) else {
        block.push(127);
        let mut rest = number - 127;
        while rest >= 128 {
            block.push(u8::try_from(rest % 128).unwrap_or_default() | 128);
            rest /= 128;
        }
        block.push(u8::try_from(rest).unwrap_or_default());
        return;
    };
    block.push(small);
}

/// A message in a DATA frame; whole, or as long as it says and cut.
pub(crate) fn message(stream: u32, length: usize, bytes: &[u8], last: bool) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    frame(DATA, u8::from(last), stream, &[&[0], length.as_slice(), bytes].concat())
}

/// Settings.
pub(crate) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        values.iter().flat_map(|(name, value)| [name.to_be_bytes().as_slice(), &value.to_be_bytes()].concat()).collect();
    frame(SETTINGS, 0, 0, &payload)
}

impl Way {
    /// To a server whose CA certificate is in this file; `identity` is a certificate and a key, PEM.
    pub(crate) fn new(server: SocketAddr, ca: &Path, identity: Option<&str>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca)? {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(pem) => {
                let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>()?;
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(pem.as_bytes())?)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { server, tls: Arc::new(config) })
    }

    /// A connection without TLS so far, from an address of this machine.
    pub(crate) async fn plain(&self, from: Ipv4Addr) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        Ok(socket.connect(self.server).await?)
    }

    /// A connection with TLS.
    pub(crate) async fn tls(&self, from: Ipv4Addr) -> Result<Raw> {
        let stream = self.plain(from).await?;
        let name = ServerName::try_from("localhost")?;
        Ok(Raw(TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?))
    }

    /// A connection that speaks HTTP/2, with these settings.
    pub(crate) async fn http2(&self, from: Ipv4Addr, values: &[(u16, u32)]) -> Result<Raw> {
        let mut raw = self.tls(from).await?;
        raw.send(&[PREFACE, &settings(values)].concat()).await?;
        Ok(raw)
    }

    /// As [`Way::http2`], and the server speaks it, too: until then it may end the connection for the time that it took, and
    /// takes no more than 64 KiB on it. As clients do, one that does not come through is tried again.
    pub(crate) async fn http2_begun(&self, from: Ipv4Addr) -> Result<Raw> {
        let mut attempts = 0;
        loop {
            let begun = async {
                let mut raw = self.http2(from, &[]).await?;
                // It comes after the settings, which are answered on the way.
                raw.until(|frame| (frame.kind == WINDOW_UPDATE && frame.stream == 0).then_some(())).await?;
                anyhow::Ok(raw)
            };
            match begun.await {
                Err(_) if attempts < ATTEMPTS_MAX => attempts += 1,
                begun => return begun,
            }
        }
    }

    /// How a client begins TLS: bytes that cost whoever sends them nothing.
    pub(crate) fn client_hello(&self) -> Result<Vec<u8>> {
        let mut client = ClientConnection::new(Arc::clone(&self.tls), ServerName::try_from("localhost")?)?;
        let mut hello = Vec::new();
        client.write_tls(&mut hello)?;
        Ok(hello)
    }
}

/// A connection with TLS.
pub(crate) struct Raw(TlsStream<TcpStream>);

impl Raw {
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).await?;
        Ok(self.0.flush().await?)
    }

    /// The next frame; fails where the connection has ended.
    pub(crate) async fn next(&mut self) -> Result<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c]))?;
        ensure!(length <= 1 << 20, "a frame of {length} bytes");
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await?;
        Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// Answers settings and pings, as it must be, until a frame comes that `wanted` takes.
    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(&Frame) -> Option<T>) -> Result<T> {
        loop {
            let came = self.next().await.context("the connection ended")?;
            if let Some(found) = wanted(&came) {
                return Ok(found);
            }
            if matches!(came.kind, SETTINGS | PING) && came.flags & ACK == 0 {
                let payload = if came.kind == PING { came.payload.as_slice() } else { &[] };
                self.send(&frame(came.kind, ACK, 0, payload)).await?;
            }
        }
    }

    /// Answers what must be answered until the connection ends; gives the reason of a GOAWAY.
    pub(crate) async fn until_end(&mut self) -> Option<u32> {
        let mut reason = None;
        let ended: Result<()> = self
            .until(|frame| {
                if frame.kind == GOAWAY {
                    reason = frame.payload.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
                }
                None
            })
            .await;
        drop(ended);
        reason
    }

    /// Reads, and answers nothing, until the connection ends.
    pub(crate) async fn silent_until_end(&mut self) {
        let mut buffer = [0; 4_096];
        while matches!(self.0.read(&mut buffer).await, Ok(1..)) {}
    }
}
