//! Where a database is, and how the connection to it is protected.

use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    Connection, DatabaseError, Fault, Protection,
    tls::{believing, unconnected},
};

/// What goes both ways, with TLS or without.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A stream to a database.
pub(crate) type Stream = Box<dyn Duplex>;

/// Where a database is.
pub(crate) struct Endpoint {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Endpoint {
    pub(crate) fn new(connection: &Connection) -> Result<Self, DatabaseError> {
        let tls = match &connection.protection {
            Protection::None => None,
            Protection::Tls { ca_pem, server_name } => {
                let name = server_name.as_ref().unwrap_or(&connection.host).clone();
                let name = ServerName::try_from(name)
                    .map_err(|_| DatabaseError::new(Fault::Configuration, "no certificate can have the host's name"))?;
                Some((TlsConnector::from(Arc::new(believing(ca_pem)?)), name))
            }
        };
        Ok(Self { host: connection.host.clone(), port: connection.port, tls })
    }

    /// Whether nothing is said in plain.
    pub(crate) const fn is_protected(&self) -> bool {
        self.tls.is_some()
    }

    /// Connects, in plain so far.
    pub(crate) async fn dial(&self) -> Result<TcpStream, DatabaseError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| unconnected(&error))?;
        stream.set_nodelay(true).map_err(|error| unconnected(&error))?;
        Ok(stream)
    }

    /// The stream with TLS, where that is wanted.
    pub(crate) async fn secure(&self, stream: TcpStream) -> Result<Stream, DatabaseError> {
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((connector, name)) => {
                let secured = connector.connect(name.clone(), stream).await.map_err(|error| unconnected(&error))?;
                Ok(Box::new(secured))
            }
        }
    }
}
