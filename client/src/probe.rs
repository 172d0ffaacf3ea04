//! Trying the way to a vault, for who looks for a fault.

use std::{io, net::SocketAddr, path::PathBuf};

use tokio::{
    net::{TcpStream, UnixStream, lookup_host},
    time::timeout,
};

use crate::{Options, connector::Target, endpoint::Endpoint, error::Error};

/// Where an address leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// TLS over TCP: host and port.
    Network(String, u16),
    /// A local socket.
    Socket(PathBuf),
}

/// Reads an address, as [`Options::endpoint`] has it.
///
/// # Errors
/// [`Error::Config`] where it cannot be read.
pub fn place(endpoint: &str) -> Result<Place, Error> {
    Ok(match Endpoint::parse(endpoint)? {
        Endpoint::Tls { host, port } => Place::Network(host, port),
        Endpoint::Unix(path) => Place::Socket(path),
    })
}

/// How far the way to a vault goes. Each step is tried where the one before it led somewhere.
#[derive(Debug)]
pub struct Probe {
    /// The addresses that the host's name stands for; none for a local socket.
    pub addresses: Vec<SocketAddr>,
    /// Whether something accepts connections, at one of them.
    pub connected: io::Result<()>,
    /// The server's certificate and those it sent with it, DER, its own first; none over a local socket. An error where
    /// the certificate is not believed, or no TLS is spoken.
    pub certificates: Result<Vec<Vec<u8>>, Error>,
}

/// Tries the way to a vault: the name, the port, TLS. Each step has [`Options::connect_timeout`]. Nothing is sent beyond
/// the handshake.
///
/// # Errors
/// [`Error::Config`] for what cannot be used at all; [`Error::Unavailable`] where the name leads nowhere.
pub async fn probe(options: &Options) -> Result<Probe, Error> {
    let limit = options.connect_timeout;
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs_f32()));
    let target = Target {
        endpoint: Endpoint::parse(&options.endpoint)?,
        ca: options.ca.clone(),
        server_name: options.server_name.clone(),
        identity: options.identity.clone(),
        connect_timeout: limit,
    };
    let (host, port) = match &target.endpoint {
        Endpoint::Unix(path) => {
            let connected = timeout(limit, UnixStream::connect(path)).await.unwrap_or_else(|_| Err(late())).map(drop);
            return Ok(Probe { addresses: Vec::new(), connected, certificates: Ok(Vec::new()) });
        }
        Endpoint::Tls { host, port } => (host.as_str(), *port),
    };
    let nowhere = |error: io::Error| Error::unreachable(format!("the name {host} leads nowhere: {error}"));
    let found = timeout(limit, lookup_host((host, port))).await.unwrap_or_else(|_| Err(late())).map_err(nowhere)?;
    let addresses: Vec<SocketAddr> = found.collect();
    let connected = timeout(limit, TcpStream::connect(addresses.as_slice())).await.unwrap_or_else(|_| Err(late())).map(drop);
    let certificates = match &connected {
        Ok(()) => {
            timeout(limit, target.handshake(host, port)).await.unwrap_or_else(|_| Err(Error::unreachable(late().to_string())))
        }
        Err(error) => Err(Error::unreachable(error.to_string())),
    };
    let certificates = certificates.map(|stream| {
        let (_, connection) = stream.get_ref();
        connection.peer_certificates().unwrap_or_default().iter().map(|certificate| certificate.to_vec()).collect()
    });
    Ok(Probe { addresses, connected, certificates })
}
