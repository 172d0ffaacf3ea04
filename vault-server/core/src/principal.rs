//! Who asks, and how grants name them.

use std::{fmt, str::FromStr};

use crate::limits::{KUBERNETES_NAME_BYTES_MAX, NAME_CHARS_MAX};

/// Why a text does not name a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalError {
    /// It has none of the known forms.
    #[error("a principal is k8s:CLUSTER/NAMESPACE/SERVICE-ACCOUNT, operator:NAME or role:NAME")]
    Form,
    /// A name in it breaks the rules for names.
    #[error("a name has a character that is not allowed, or too many of them")]
    Name,
    /// A `*` stands before a name: only the last names can be left open.
    #[error("'*' can stand for a service account, or a namespace and its service accounts, not for what is before them")]
    Wildcard,
    /// There is no role of this name.
    #[error("roles are admin, officer and auditor")]
    Role,
}

/// What an operator is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Runs the vault and writes secrets, without reading any or deciding who may.
    Admin,
    /// Decides who may read.
    Officer,
    /// Sees everything but values.
    Auditor,
}

impl Role {
    /// Every role.
    pub const ALL: &[Self] = &[Self::Admin, Self::Officer, Self::Auditor];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Officer => "officer",
            Self::Auditor => "auditor",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        Self::ALL.iter().copied().find(|role| role.name() == text).ok_or(PrincipalError::Role)
    }
}

/// A name of an operator, a policy or a cluster: 1 to [`NAME_CHARS_MAX`] of `a-z 0-9 . - _`, a letter first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        let inner = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_');
        if text.len() <= NAME_CHARS_MAX && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(inner) {
            Ok(Self(text.into()))
        } else {
            Err(PrincipalError::Name)
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Kubernetes name: a namespace (RFC 1123 label) or a service account (RFC 1123 subdomain).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesName(Box<str>);

impl KubernetesName {
    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KubernetesName {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        let label = |label: &str| {
            let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            label.starts_with(end) && label.ends_with(end) && label.chars().all(|c| end(c) || c == '-')
        };
        if text.len() <= KUBERNETES_NAME_BYTES_MAX && text.split('.').all(label) {
            Ok(Self(text.into()))
        } else {
            Err(PrincipalError::Name)
        }
    }
}

impl fmt::Display for KubernetesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who asks, as policy sees them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// A workload: a pod that runs under this service account.
    Workload {
        /// The registered cluster's name.
        cluster: Name,
        /// The namespace.
        namespace: KubernetesName,
        /// The service account.
        service_account: KubernetesName,
    },
    /// An operator.
    Operator(Name),
    /// The holder of a bootstrap credential: creates the first operators.
    Bootstrap,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload { cluster, namespace, service_account } => write!(f, "k8s:{cluster}/{namespace}/{service_account}"),
            Self::Operator(name) => write!(f, "operator:{name}"),
            Self::Bootstrap => f.write_str("bootstrap"),
        }
    }
}

impl FromStr for Principal {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        match text.parse()? {
            PrincipalPattern::Operator(name) => Ok(Self::Operator(name)),
            PrincipalPattern::Workload { cluster, namespace: Some(namespace), service_account: Some(service_account) } => {
                Ok(Self::Workload { cluster, namespace, service_account })
            }
            PrincipalPattern::Workload { .. } => Err(PrincipalError::Wildcard),
            PrincipalPattern::Role(_) => Err(PrincipalError::Form),
        }
    }
}

/// To whom a grant is made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrincipalPattern {
    /// Workloads of a cluster.
    Workload {
        /// The registered cluster's name.
        cluster: Name,
        /// The namespace; `None` (`*`) for all.
        namespace: Option<KubernetesName>,
        /// The service account; `None` (`*`) for all of the namespace. Always `None` where `namespace` is.
        service_account: Option<KubernetesName>,
    },
    /// One operator.
    Operator(Name),
    /// Every operator of a role.
    Role(Role),
}

impl PrincipalPattern {
    /// Whether the grant is for this principal, who has these roles.
    #[must_use]
    pub fn matches(&self, principal: &Principal, roles: &[Role]) -> bool {
        match (self, principal) {
            (
                Self::Workload { cluster, namespace, service_account },
                Principal::Workload { cluster: c, namespace: n, service_account: s },
            ) => cluster == c && namespace.as_ref().is_none_or(|x| x == n) && service_account.as_ref().is_none_or(|x| x == s),
            (Self::Operator(name), Principal::Operator(other)) => name == other,
            (Self::Role(role), Principal::Operator(_)) => roles.contains(role),
            _ => false,
        }
    }
}

impl FromStr for PrincipalPattern {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        let (kind, rest) = text.split_once(':').ok_or(PrincipalError::Form)?;
        match kind {
            "operator" => rest.parse().map(Self::Operator),
            "role" => rest.parse().map(Self::Role),
            "k8s" => workload_pattern(rest),
            _ => Err(PrincipalError::Form),
        }
    }
}

fn workload_pattern(text: &str) -> Result<PrincipalPattern, PrincipalError> {
    let mut parts = text.split('/');
    let (Some(cluster), Some(namespace), Some(account), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(PrincipalError::Form);
    };
    let open = |name: &str| if name == "*" { Ok(None) } else { name.parse().map(Some) };
    let (namespace, service_account) = (open(namespace)?, open(account)?);
    if cluster == "*" || (namespace.is_none() && service_account.is_some()) {
        return Err(PrincipalError::Wildcard);
    }
    Ok(PrincipalPattern::Workload { cluster: cluster.parse()?, namespace, service_account })
}

impl fmt::Display for PrincipalPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload { cluster, namespace, service_account } => {
                let namespace = namespace.as_ref().map_or("*", KubernetesName::as_str);
                let account = service_account.as_ref().map_or("*", KubernetesName::as_str);
                write!(f, "k8s:{cluster}/{namespace}/{account}")
            }
            Self::Operator(name) => write!(f, "operator:{name}"),
            Self::Role(role) => write!(f, "role:{role}"),
        }
    }
}

stored_as_text!(Role, Name, KubernetesName, PrincipalPattern);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_read_what_they_write() {
        for text in ["k8s:prod/payments/api", "k8s:prod/payments/*", "k8s:prod/*/*", "operator:alice", "role:officer"] {
            assert_eq!(text.parse::<PrincipalPattern>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_does_not_name_a_principal_is_refused() {
        for text in [
            "",
            "alice",
            "operator:",
            "operator:Alice",
            "operator:a b",
            "role:root",
            "k8s:prod",
            "k8s:prod/a",
            "k8s:prod/a/b/c",
            "k8s:*/a/b",
            "k8s:prod/*/api",
            "k8s:prod/A/b",
            "k8s:prod/-a/b",
            "k8s:prod//b",
            "operator:1",
            "operator:\u{e9}",
        ] {
            assert!(text.parse::<PrincipalPattern>().is_err(), "{text}");
        }
        assert!("k8s:prod/a/*".parse::<Principal>().is_err());
        assert!("role:admin".parse::<Principal>().is_err());
    }

    #[test]
    fn names_hold_to_their_limits() {
        assert!("a".repeat(NAME_CHARS_MAX).parse::<Name>().is_ok());
        assert!("a".repeat(NAME_CHARS_MAX + 1).parse::<Name>().is_err());
        assert!("a".repeat(KUBERNETES_NAME_BYTES_MAX).parse::<KubernetesName>().is_ok());
        assert!("a".repeat(KUBERNETES_NAME_BYTES_MAX + 1).parse::<KubernetesName>().is_err());
    }

    #[test]
    fn a_pattern_is_for_whom_it_names_and_nobody_else() {
        let api: Principal = "k8s:prod/payments/api".parse().unwrap();
        for (pattern, matches) in [
            ("k8s:prod/payments/api", true),
            ("k8s:prod/payments/*", true),
            ("k8s:prod/*/*", true),
            ("k8s:prod/payments/web", false),
            ("k8s:test/payments/api", false),
            ("operator:api", false),
            ("role:admin", false),
        ] {
            assert_eq!(pattern.parse::<PrincipalPattern>().unwrap().matches(&api, &[Role::Admin]), matches, "{pattern}");
        }
    }
}
