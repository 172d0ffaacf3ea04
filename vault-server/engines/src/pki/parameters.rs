//! What a certificate is to be, in words: for those who ask for credentials of any engine in the same way.

use std::collections::BTreeMap;

use super::{IssueRequest, PkiError, SubjectName, names};

/// The first name.
const COMMON_NAME: &str = "common_name";
/// More hosts.
const ALT_NAMES: &str = "alt_names";
/// Addresses.
const IP_SANS: &str = "ip_sans";
/// URIs.
const URI_SANS: &str = "uri_sans";
/// What stands between the names of a list. It is in no name.
const BETWEEN: char = ',';

impl IssueRequest {
    /// A certificate that lasts so many seconds, and no longer than its role lets it. The names keep their order, the common
    /// name first.
    ///
    /// # Errors
    /// Fails for a word that is none of the four, and for a name that is not of the kind that its word says.
    pub fn of_parameters(parameters: &BTreeMap<String, String>, ttl_secs: Option<u64>) -> Result<Self, PkiError> {
        let known = [COMMON_NAME, ALT_NAMES, IP_SANS, URI_SANS];
        if let Some(unknown) = parameters.keys().find(|key| !known.contains(&key.as_str())) {
            let known = known.join(", ");
            return Err(PkiError::told(format!("a certificate has no parameter {unknown:?}; those that it has are {known}")));
        }
        let mut asked = Vec::new();
        for word in known {
            let Some(text) = parameters.get(word) else { continue };
            for name in if word == COMMON_NAME { vec![text.as_str()] } else { text.split(BETWEEN).map(str::trim).collect() } {
                check_kind(word, name)?;
                asked.push(name.to_owned());
            }
        }
        Ok(Self { names: asked, ttl_secs, shortened: true, ..Self::default() })
    }
}

/// Checks that a name is of the kind that its word says.
fn check_kind(word: &str, name: &str) -> Result<(), PkiError> {
    let (good, kind) = match (word, names::parse(name)?) {
        (IP_SANS, name) => (matches!(name, SubjectName::Ip(_)), "addresses"),
        (URI_SANS, name) => (matches!(name, SubjectName::Uri(_)), "URIs"),
        (_, name) => (matches!(name, SubjectName::Dns(_)), "hosts"),
    };
    if good { Ok(()) } else { Err(PkiError::told(format!("{word} is for {kind}, and '{name}' is none"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(parameters: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let parameters = parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        IssueRequest::of_parameters(&parameters, Some(60)).map(|request| request.names).map_err(|error| error.to_string())
    }

    #[test]
    fn the_common_name_comes_first_and_lists_have_commas() {
        let all = [
            ("uri_sans", "spiffe://a.b/c"),
            ("ip_sans", "10.0.0.1,::1"),
            ("alt_names", "b.svc, *.c.svc"),
            ("common_name", "a.svc"),
        ];
        assert_eq!(asked(&all).unwrap(), ["a.svc", "b.svc", "*.c.svc", "10.0.0.1", "::1", "spiffe://a.b/c"]);
        assert_eq!(asked(&[]).unwrap(), [""; 0], "a role may give a name to who asks for none");
    }

    #[test]
    fn an_unknown_word_is_named_and_so_is_a_name_of_another_kind() {
        let refused = asked(&[("common_name", "a.svc"), ("cn", "a.svc")]).unwrap_err();
        assert!(refused.contains("\"cn\"") && refused.contains("common_name, alt_names, ip_sans, uri_sans"), "{refused}");
        for (word, name) in [
            ("common_name", "10.0.0.1"),
            ("common_name", "a.svc,b.svc"),
            ("common_name", ""),
            ("alt_names", "a.svc,spiffe://a.b/c"),
            ("alt_names", "a.svc,"),
            ("alt_names", "a.svc,,b.svc"),
            ("ip_sans", "a.svc"),
            ("ip_sans", "10.0.0.1,a.svc"),
            ("uri_sans", "a.svc"),
        ] {
            assert!(asked(&[(word, name)]).is_err(), "{word}={name}");
        }
        assert_eq!(asked(&[("ip_sans", "a.svc")]).unwrap_err(), "ip_sans is for addresses, and 'a.svc' is none");
    }
}
