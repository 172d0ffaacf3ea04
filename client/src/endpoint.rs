//! Where a vault is.

use std::path::PathBuf;

use http::Uri;

use crate::error::Error;

/// The port of a vault, where an address names none.
const PORT_DEFAULT: u16 = 8200;

/// A parsed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// TLS over TCP.
    Tls {
        /// A DNS name or an IP address, without brackets.
        host: String,
        port: u16,
    },
    /// Plain HTTP/2 over the vault's local socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Reads `https://HOST[:PORT]` or `unix:///PATH`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| {
            Error::config(format!("the vault's address {text:?} {why}; give https://HOST:PORT or unix:///PATH/TO/SOCKET"))
        };
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(PathBuf::from(path))),
                false => Err(refuse("names no absolute path")),
            };
        }
        let uri: Uri = text.parse().map_err(|_| refuse("cannot be read"))?;
        if uri.scheme_str() != Some("https") {
            return Err(refuse("does not begin with https://"));
        }
        if uri.path_and_query().is_some_and(|rest| rest.as_str() != "/") {
            return Err(refuse("has a path after the port"));
        }
        let authority = uri.authority().ok_or_else(|| refuse("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("has a user name in it"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(refuse("names no host"));
        }
        Ok(Self::Tls { host: host.to_owned(), port: authority.port_u16().unwrap_or(PORT_DEFAULT) })
    }

    /// The origin that requests name in HTTP/2.
    pub(crate) fn origin(&self) -> Result<Uri, Error> {
        let text = match self {
            Self::Tls { host, port } if host.contains(':') => format!("https://[{host}]:{port}"),
            Self::Tls { host, port } => format!("https://{host}:{port}"),
            Self::Unix(_) => "http://localhost".to_owned(),
        };
        text.parse().map_err(|_| Error::config(format!("the vault's address {text:?} cannot be read")))
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tls { host, port } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Self::Tls { host, port } => write!(f, "https://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(host: &str, port: u16) -> Endpoint {
        Endpoint::Tls { host: host.to_owned(), port }
    }

    #[test]
    fn https_and_unix_addresses_are_read() {
        for (text, expected) in [
            ("https://vault.example:8200", tls("vault.example", 8200)),
            ("https://vault.example", tls("vault.example", 8200)),
            ("https://vault.example:443/", tls("vault.example", 443)),
            ("https://192.0.2.1:8200", tls("192.0.2.1", 8200)),
            ("https://[2001:db8::1]:8200", tls("2001:db8::1", 8200)),
            ("unix:///run/coffer/vault.sock", Endpoint::Unix("/run/coffer/vault.sock".into())),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn other_addresses_are_refused_with_the_forms_that_work() {
        for text in [
            "",
            "vault.example:8200",
            "http://vault.example:8200",
            "https://",
            "https://user@vault.example",
            "https://vault.example/v1",
            "unix://relative/path",
        ] {
            let message = Endpoint::parse(text).unwrap_err().to_string();
            assert!(message.contains("unix:///PATH/TO/SOCKET"), "{text}: {message}");
        }
    }

    #[test]
    fn an_ipv6_origin_keeps_its_brackets() {
        assert_eq!(tls("2001:db8::1", 1).origin().unwrap().to_string(), "https://[2001:db8::1]:1/");
    }
}
