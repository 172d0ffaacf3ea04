//! Where a question goes.

use hyper::Uri;

/// A place that is asked: a scheme, a host and a port, and what there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) origin: Origin,
    /// Path and query.
    pub(crate) path: String,
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Whether without TLS.
    pub(crate) is_plain: bool,
    /// Host and port, as they are written.
    pub(crate) authority: String,
}

impl Origin {
    /// The host alone, without an address' brackets.
    pub(crate) fn host(&self) -> &str {
        let host = match self.authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => &self.authority,
        };
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port: that of the scheme, where none is written.
    pub(crate) fn port(&self) -> u16 {
        let written = self.authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        written.unwrap_or(if self.is_plain { 80 } else { 443 })
    }

    /// Whether another is the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.is_plain == other.is_plain && self.host() == other.host() && self.port() == other.port()
    }
}

impl Target {
    /// Reads a URL, or a path at the place that names it.
    pub(crate) fn read(text: &str, at: Option<&Origin>) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let origin = match (uri.scheme_str(), uri.authority()) {
            (Some(scheme @ ("http" | "https")), Some(authority)) => {
                let authority = authority.as_str().to_ascii_lowercase();
                // Neither a user, nor anything else that would be read in two ways.
                if !crate::reference::is_host(&authority) {
                    return None;
                }
                Origin { is_plain: scheme == "http", authority }
            }
            (None, None) if path.starts_with('/') && !path.starts_with("//") => at?.clone(),
            _ => return None,
        };
        Some(Self { origin, path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_in_one_way() {
        let at = Target::read("http://[::1]:5000/v2/?a=b", None).unwrap();
        assert_eq!((at.origin.host(), at.origin.port(), at.path.as_str()), ("::1", 5000, "/v2/?a=b"));
        let here = Target::read("/x?y=z", Some(&at.origin)).unwrap();
        assert!(here.origin.is(&at.origin) && here.path == "/x?y=z");
        let secure = Target::read("https://A.example", None).unwrap();
        assert_eq!((secure.origin.host(), secure.origin.port(), secure.path.as_str()), ("a.example", 443, "/"));
        assert!(secure.origin.is(&Target::read("https://a.example:443/x", None).unwrap().origin));
        for other in ["http://a.example:443/", "https://a.example:444/", "https://b.example/"] {
            assert!(!secure.origin.is(&Target::read(other, None).unwrap().origin), "{other}");
        }
        for none in
            ["", "x", "//a.example/x", "ftp://a.example/", "https://u:p@a.example/", "https://a.example:0/", "a.example:1"]
        {
            assert_eq!(Target::read(none, Some(&at.origin)), None, "{none}");
        }
    }
}
